"""Timers: what is due now, and the next due instant, of attempts, questions and retries."""

from __future__ import annotations

from typing import NamedTuple

import sqlalchemy as sa

from app.domain.attempts import Attempt
from app.domain.questions import Question
from app.domain.tasks import Task
from app.engine.ops import loop
from app.state import schema
from app.state.state import State
from app.state.statements import Statement
from app.state.tables import ATTEMPTS, QUESTIONS, TASKS

_A, _T, _Q = schema.attempts.c, schema.tasks.c, schema.questions.c
_ATTEMPTS_DUE = ATTEMPTS.search(_A.due_at <= sa.bindparam("now"), order=(_A.due_at,), limit=True)
_RETRIES_DUE = TASKS.search(_T.retry_at <= sa.bindparam("now"), order=(_T.retry_at,), limit=True)
_QUESTIONS_DUE = QUESTIONS.search(_Q.due_at <= sa.bindparam("now"), order=(_Q.due_at,), limit=True)
_NEXT_ATTEMPT = Statement(sa.select(sa.func.min(_A.due_at)).where(_A.due_at.is_not(None)))
_NEXT_RETRY = Statement(sa.select(sa.func.min(_T.retry_at)).where(_T.retry_at.is_not(None)))
_NEXT_QUESTION = Statement(sa.select(sa.func.min(_Q.due_at)).where(_Q.due_at.is_not(None)))


class DueWork(NamedTuple):
    """Attempts, retries and questions that are due."""

    attempts: list[Attempt]
    retries: list[Task]
    questions: list[Question]


def due(state: State, limit: int) -> DueWork:
    """Return what is due now, at most `limit` of each."""
    return DueWork(
        _ATTEMPTS_DUE.all(state.db, now=state.now, limit=limit),
        _RETRIES_DUE.all(state.db, now=state.now, limit=limit),
        _QUESTIONS_DUE.all(state.db, now=state.now, limit=limit),
    )


def next_due(state: State) -> int | None:
    """Return the next instant at which something can be carried out; None when there is none.

    While dispatching is paused no retry can.
    """
    wanted = (
        [_NEXT_ATTEMPT, _NEXT_QUESTION] if loop.read(state).paused else [_NEXT_ATTEMPT, _NEXT_QUESTION, _NEXT_RETRY]
    )
    return min((at for statement in wanted if (at := statement.query(state.db)[0][0]) is not None), default=None)
