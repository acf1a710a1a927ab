"""Lists of tasks on terminals of all widths."""

import io

import pytest
from rich.console import Console

from app.cli import task_table
from swarmhold.models.tasks import Task
from tests.unit.models.test_shapes import TASK


@pytest.mark.parametrize(("width", "part"), [(80, slice(5, 16)), (200, slice(0, 19))])
def test_ids_and_times_stay_in_one_piece(monkeypatch: pytest.MonkeyPatch, width: int, part: slice) -> None:
    """Whatever the width, a task's id and time are not broken, and a long directive is cut."""
    paper = Console(file=io.StringIO(), width=width)
    monkeypatch.setattr(task_table, "console", paper)
    task = Task.model_validate({**TASK, "spec": {**TASK["spec"], "initial_directive": "long " * 40}})
    paper.print(task_table.task_list([task]))
    shown = paper.file.getvalue()  # pyright: ignore[reportAttributeAccessIssue] - it is the StringIO from above
    changed = str(task.model_dump(mode="json")["updated_at"])[part].replace("T", " ")

    assert task.id in shown
    assert changed in shown
    assert "…" in shown
