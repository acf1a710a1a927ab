"""Timers: what is due now, and the next due instant, of attempts, questions and retries."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

import sqlalchemy as sa

from app.domain.attempts import Attempt
from app.domain.json import Json
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
_RETRIES_DUE_OF = TASKS.search(
    _T.namespace == sa.bindparam("of_namespace"),
    _T.retry_at <= sa.bindparam("now"),
    order=(_T.retry_at,),
    limit=True,
)
_QUESTIONS_DUE = QUESTIONS.search(_Q.due_at <= sa.bindparam("now"), order=(_Q.due_at,), limit=True)
_REMINDERS_DUE = QUESTIONS.search(_Q.remind_at <= sa.bindparam("now"), order=(_Q.remind_at,), limit=True)
_NEXT_ATTEMPT = Statement(sa.select(sa.func.min(_A.due_at)).where(_A.due_at.is_not(None)))
_NEXT_RETRY = Statement(sa.select(sa.func.min(_T.retry_at)).where(_T.retry_at.is_not(None)))
_NEXT_RETRY_OF = Statement(
    sa.select(sa.func.min(_T.retry_at)).where(_T.namespace == sa.bindparam("of_namespace"), _T.retry_at.is_not(None))
)
_NEXT_QUESTION = Statement(sa.select(sa.func.min(_Q.due_at)).where(_Q.due_at.is_not(None)))
_NEXT_REMINDER = Statement(sa.select(sa.func.min(_Q.remind_at)).where(_Q.remind_at.is_not(None)))


_CLAIM = "SELECT id FROM tasks WHERE id = ANY (ARRAY(SELECT json_array_elements_text(%s::json))) FOR UPDATE SKIP LOCKED"


class DueWork(NamedTuple):
    """Attempts, retries and questions that are due, and the questions whose deadline is near."""

    attempts: list[Attempt]
    retries: list[Task]
    questions: list[Question]
    reminders: list[Question]


def claim(state: State, task_ids: Iterable[str]) -> set[str]:
    """Lock these tasks, and return those that no other transaction has locked: perhaps another node's timers."""
    if state.db.dialect == "sqlite":  # one transaction at a time
        return set(task_ids)
    return {row[0] for row in state.db.query(_CLAIM, (Json.of(list(task_ids)).text,))}


def due(state: State, limit: int) -> DueWork:
    """Return what is due now, at most `limit` of each."""
    return DueWork(
        _ATTEMPTS_DUE.all(state.db, now=state.now, limit=limit),
        _retries_due(state, limit),
        _QUESTIONS_DUE.all(state.db, now=state.now, limit=limit),
        _REMINDERS_DUE.all(state.db, now=state.now, limit=limit),
    )


def next_due(state: State) -> int | None:
    """Return the next instant at which something can be carried out; None when there is none.

    While dispatching is paused no retry can.
    """
    found = [next.query(state.db)[0][0] for next in (_NEXT_ATTEMPT, _NEXT_QUESTION, _NEXT_REMINDER)]
    running = _running(state)
    if running is None:
        found.append(_NEXT_RETRY.query(state.db)[0][0])
    else:
        found += [_NEXT_RETRY_OF.query(state.db, of_namespace=namespace)[0][0] for namespace in running]
    return min((at for at in found if at is not None), default=None)


def _retries_due(state: State, limit: int) -> list[Task]:
    """Return retries that are due, but those that a switch holds back."""
    running = _running(state)
    if running is None:
        return _RETRIES_DUE.all(state.db, now=state.now, limit=limit)
    return [
        task
        for namespace in running
        for task in _RETRIES_DUE_OF.all(state.db, of_namespace=namespace, now=state.now, limit=limit)
    ][:limit]


def _running(state: State) -> list[int] | None:
    """Return the namespaces in which retries can be carried out; None for all, which is seen at once."""
    if not loop.any_paused(state):
        return None
    return [] if loop.all_paused(state) else loop.running(state)
