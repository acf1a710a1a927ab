"""The demo's checks notice what is wrong, and the two ways of reading agree."""

from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from app.cli.demo import text_analysis, verification
from app.cli.demo.checks import run_checks
from app.cli.demo.corpus import choose, locate
from app.cli.demo.plan import PlannedTask
from app.cli.demo.swarm import Outcome
from swarmhold.models.spawners import QueueSpawner
from swarmhold.models.tasks import Task

# Everything but lone surrogates and carriage returns, which files of text do not hold either.
PIECES = ("\n", " ", "[", "](", ")", "TODO", "FIXME", "XXX", "word", ". ", "#", "http://a", "handbook.md")
TEXTS = st.lists(
    st.characters(codec="utf-8", exclude_characters="\r") | st.sampled_from(PIECES), min_size=1, max_size=60
).map("".join)


@given(TEXTS)
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=300)
def test_both_ways_of_reading_agree(tmp_path: Path, text: str) -> None:
    """Whatever the text, patterns and the walk over its signs find the same."""
    path = tmp_path / "some.md"
    path.write_bytes(text.encode())

    assert text_analysis.statistics(text) == verification.statistics(path)
    assert text_analysis.findings(text, path) == verification.findings(path)


def _task(result: Any, **fields: Any) -> Task:
    plain = {
        "id": "T-1",
        "spec": {"agent": "statistician", "initial_directive": "{}"},
        "status": "pass",
        "attempt": 1,
        "suspended_on": [],
        "last_result": result,
        "spawn_depth": 0,
        "parent_task_id": None,
        "session_id": None,
        "labels": {},
        "retry": None,
        "version": 3,
        "created_at": "2026-01-01T00:00:00.000Z",
        "updated_at": "2026-01-01T00:00:00.000Z",
    }
    return Task.model_validate(plain | fields)


def _outcome(tmp_path: Path, task: Task) -> Outcome:
    (tmp_path / "a.md").write_text("One line.\n")
    planned = PlannedTask(agent="statistician", paths=("a.md",), spawner=QueueSpawner(queue="q"))
    outcome = Outcome(choose(tmp_path))
    outcome.planned[task.id] = planned
    outcome.tasks[task.id] = task
    outcome.attempts[task.id] = []
    return outcome


def _faults(outcome: Outcome, word: str) -> tuple[str, ...]:
    return next(check.faults for check in run_checks(outcome, 1) if word in check.name)


def test_a_wrong_number_is_noticed(tmp_path: Path) -> None:
    """A result that differs in one count is named with what it should be."""
    good = {"path": "a.md", **text_analysis.statistics("One line.\n")}

    assert _faults(_outcome(tmp_path, _task(good)), "independent") == ()
    faults = _faults(_outcome(tmp_path, _task(good | {"words": 3})), "independent")
    assert faults == ("statistician-a.md: words is 3, not 2",)


def test_what_is_missing_is_noticed(tmp_path: Path) -> None:
    """A task that did not pass and one that was not planned are faults, and so is an empty feed."""
    outcome = _outcome(tmp_path, _task(None, status="blocked"))
    outcome.tasks["T-2"] = _task(None, id="T-2")

    faults = _faults(outcome, "every planned task")
    assert any("is blocked" in fault for fault in faults)
    assert any("was not planned" in fault for fault in faults)
    assert not all(check.ok for check in run_checks(outcome, 1))


def test_names_cannot_lead_out_of_the_corpus(tmp_path: Path) -> None:
    """A task that names a file elsewhere is refused by its worker."""
    with pytest.raises(ValueError, match="outside"):
        locate(tmp_path, "../etc/passwd")
