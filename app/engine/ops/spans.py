"""Record attempts and questions that end in a transaction, so that their spans are written after the commit."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa

from app.domain.attempts import Attempt
from app.domain.questions import Question
from app.domain.spans import EndedAttempt, SettledQuestion
from app.domain.tasks import Task
from app.state import schema
from app.state.rows import changed
from app.state.state import State
from app.state.statements import Statement
from app.state.tables import TASKS

_Q = schema.questions.c
_ASKED = Statement(
    sa.select(_Q.key)
    .where(_Q.task_id == sa.bindparam("task_id"), _Q.attempt == sa.bindparam("of_attempt"))
    .order_by(_Q.key)
)


def attempt_ended(state: State, attempt: Attempt, changes: dict[str, Any]) -> None:
    """Record that an attempt ended with these changes. Called only where spans are written."""
    task = TASKS.get(state.db, attempt.task_id)
    if task is None:
        return
    asked = _ASKED.query(state.db, task_id=task.id, of_attempt=attempt.attempt) if task.asked else ()
    state.ended(EndedAttempt(task, changed(attempt, **changes), tuple(key for (key,) in asked)))


def question_settled(state: State, task: Task, question: Question) -> None:
    """Record that a question is closed, if spans are written."""
    if state.writes_spans:
        state.ended(SettledQuestion(task, question, None if state.trace is None else state.trace.text))
