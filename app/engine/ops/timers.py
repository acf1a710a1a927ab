"""What happens by itself when its time comes: leases, timeouts, deadlines, retries."""

from __future__ import annotations

from typing import NamedTuple

import sqlalchemy as sa

from app.domain.attempts import Attempt, Outcome, Reason
from app.domain.events import EventKind
from app.domain.questions import Question
from app.domain.tasks import Status, Step, Task
from app.engine.ops import loop
from app.engine.ops.access import lock_task
from app.engine.ops.endings import end_while_suspended, fail
from app.engine.ops.questions import DUE as QUESTIONS_DUE
from app.state import schema
from app.state.state import State
from app.state.statements import Statement
from app.state.tables import ATTEMPTS, TASKS

_A, _T, _Q = schema.attempts.c, schema.tasks.c, schema.questions.c
_ATTEMPTS_DUE = ATTEMPTS.search(_A.due_at <= sa.bindparam("now"), order=(_A.due_at,), limit=True)
_RETRIES_DUE = TASKS.search(_T.retry_at <= sa.bindparam("now"), order=(_T.retry_at,), limit=True)
_NEXT_ATTEMPT = Statement(sa.select(sa.func.min(_A.due_at)).where(_A.due_at.is_not(None)))
_NEXT_RETRY = Statement(sa.select(sa.func.min(_T.retry_at)).where(_T.retry_at.is_not(None)))
_NEXT_QUESTION = Statement(sa.select(sa.func.min(_Q.due_at)).where(_Q.due_at.is_not(None)))


class DueWork(NamedTuple):
    """What is due, a bounded number of each."""

    attempts: list[Attempt]
    retries: list[Task]
    questions: list[Question]


def due(state: State, limit: int) -> DueWork:
    """What is due now."""
    return DueWork(
        _ATTEMPTS_DUE.all(state.db, now=state.now, limit=limit),
        _RETRIES_DUE.all(state.db, now=state.now, limit=limit),
        QUESTIONS_DUE.all(state.db, now=state.now, limit=limit),
    )


def next_due(state: State) -> int | None:
    """The next instant at which something can be carried out; None when there is none.

    While the loop is paused no retry can.
    """
    wanted = (
        [_NEXT_ATTEMPT, _NEXT_QUESTION] if loop.read(state).paused else [_NEXT_ATTEMPT, _NEXT_QUESTION, _NEXT_RETRY]
    )
    return min((at for statement in wanted if (at := statement.query(state.db)[0][0]) is not None), default=None)


def expire_attempt(state: State, task_id: str, number: int) -> None:
    """End a live attempt whose timeout, lease or handle ran out. Nothing when it is not due any more."""
    task = lock_task(state, task_id)
    attempt = ATTEMPTS.get(state.db, task_id, number)
    if attempt is None or not attempt.is_live or attempt.due_at is None or attempt.due_at > state.now:
        return
    if attempt.timeout_at is not None and attempt.timeout_at <= state.now:
        state.emit(EventKind.ATTEMPT_TIMED_OUT, task_id=task_id, attempt=number)
        fail(
            state,
            task,
            attempt,
            what=Step.ATTEMPT_TIMEOUT,
            outcome=Outcome.TIMEOUT,
            reason=Reason.TIMEOUT,
            detail="the attempt timeout passed",
        )
        return
    leased = attempt.lease_expires_at is not None and attempt.lease_expires_at <= state.now
    lose(state, task, attempt, "its worker was silent past its lease" if leased else "its handle expired unused")


def lose(state: State, task: Task, attempt: Attempt, detail: str, *, worker_gone: bool = False) -> None:
    """The worker of a live attempt is gone.

    A task that waits for a senior goes on waiting: the answer is kept for the next attempt, and decides when it starts.
    """
    state.emit(EventKind.LEASE_LOST, task_id=task.id, attempt=attempt.attempt, detail=detail)
    if task.status is Status.SUSPENDED:
        end_while_suspended(state, task, attempt, reason=Reason.LOST, detail=detail, worker_gone=worker_gone)
        return
    fail(
        state,
        task,
        attempt,
        what=Step.LEASE_LOST,
        outcome=Outcome.BLOCKED,
        reason=Reason.LOST,
        detail=detail,
        worker_gone=worker_gone,
    )
