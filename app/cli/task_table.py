"""Tables of tasks, one line each, fitted to the width of the terminal."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from rich.table import Table
from rich.text import Text

from app.cli.output import add_row, console, short, table, to_seconds
from swarmhold.models.enums import Status

if TYPE_CHECKING:
    from swarmhold.models.tasks import Task
    from swarmhold.models.usage import Usage

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
    tasks = list(found)
    used = {task.id: usage_text(task.usage) for task in tasks if task.usage is not None}
    more = ("used",) if used else ()
    shown = table("id", "status", "agent", "try", "updated", *more, "directive")
    for column in shown.columns[:-1]:
        column.no_wrap = True
    widest = max((len(text) + 2 for text in used.values()), default=0)
    for task in tasks:
        *facts, directive = _row(task, console.width - widest)
        add_row(shown, (*facts, *([used.get(task.id, "")] if used else []), directive))
    return shown


def usage_text(used: Usage) -> str:
    """Return tokens and cost in few characters: `12.3k in, 1.2k out, 0.0415`."""
    parts = [
        *([f"{count_text(used.input_tokens)} in"] if used.input_tokens is not None else []),
        *([f"{count_text(used.output_tokens)} out"] if used.output_tokens is not None else []),
        *([f"cost {used.cost:.4g}"] if used.cost is not None else []),
    ]
    return ", ".join(parts)


def count_text(count: int) -> str:
    """Return a count with three digits and a unit: 999, 12.3k, 4.57M."""
    for unit, size in (("G", 10**9), ("M", 10**6), ("k", 10**3)):
        if count >= size:
            return f"{count / size:.3g}{unit}" if count < 999.5 * size else f"{count / size:.0f}{unit}"
    return str(count)


def _row(task: Task, width: int) -> tuple[object, ...]:
    state = Text(task.status, style=STATUS_STYLES[task.status])
    updated = to_seconds(task.as_json()["updated_at"])
    moment = updated if width >= _WIDE else updated[5:16]
    agent = short(task.spec.agent, 30)
    room = width - len(task.id) - len(agent) - len(moment) - len(task.status) - 12
    directive = short(task.spec.initial_directive, max(_DIRECTIVE.start, min(room, _DIRECTIVE.stop - 1)))
    return (task.id, state, agent, task.attempt, moment, directive)
