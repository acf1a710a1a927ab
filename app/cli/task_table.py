"""Tables of tasks, one line each, fitted to the width of the terminal."""

from __future__ import annotations

from collections.abc import Iterable

from rich.table import Table
from rich.text import Text

from app.cli.output import add_row, console, short, table, to_seconds
from swarmhold.models.enums import Status
from swarmhold.models.tasks import Task

STATUS_STYLES = {
    Status.PASS: "green",
    Status.BLOCKED: "red",
    Status.CANCELLED: "yellow",
    Status.SUSPENDED: "magenta",
    Status.RUNNING: "cyan",
    Status.PENDING: "dim",
}

_WIDE = 110
"""Columns from which on instants are shown with year and seconds."""
_DIRECTIVE = range(12, 51)


def task_list(found: Iterable[Task]) -> Table:
    """Return a table of these tasks."""
    shown = table("id", "status", "agent", "try", "updated", "directive")
    for column in shown.columns[:-1]:
        column.no_wrap = True
    for task in found:
        add_row(shown, _row(task, console.width))
    return shown


def _row(task: Task, width: int) -> tuple[object, ...]:
    state = Text(task.status, style=STATUS_STYLES[task.status])
    updated = to_seconds(task.as_json()["updated_at"])
    moment = updated if width >= _WIDE else updated[5:16]
    agent = short(task.spec.agent, 30)
    room = width - len(task.id) - len(agent) - len(moment) - len(task.status) - 12
    directive = short(task.spec.initial_directive, max(_DIRECTIVE.start, min(room, _DIRECTIVE.stop - 1)))
    return (task.id, state, agent, task.attempt, moment, directive)
