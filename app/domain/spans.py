"""Attempts and questions that ended in a transaction, whose spans may be written after its commit."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

from app.domain import traces
from app.domain.attempts import Attempt
from app.domain.questions import Question
from app.domain.tasks import Task


class EndedAttempt(NamedTuple):
    """An attempt that ended, with its task. `questions` are the keys of what it had asked."""

    task: Task
    attempt: Attempt
    questions: tuple[str, ...]


class SettledQuestion(NamedTuple):
    """A question that was answered, withdrawn or expired. `by` is the context of the call that did it."""

    task: Task
    question: Question
    by: str | None


Ended = EndedAttempt | SettledQuestion
SpanWriter = Callable[[Sequence[Ended]], None]
"""Writes the spans of what ended. Called once for each, after the commit, by the process that committed it."""


def context_of_attempt(task: Task, number: int) -> str:
    """Return the context of an attempt's span."""
    span_id = traces.span_of_attempt(task.id, number)
    return traces.of_span(task.trace, task.root_task_id or task.id, span_id)
