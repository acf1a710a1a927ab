"""Verdicts on tasks: cancel one with its descendants, mark it, override it, adopt a late result."""

from __future__ import annotations

import sqlalchemy as sa

from app.domain.access import Caller, Verb
from app.domain.attempts import Outcome, Reason
from app.domain.errors import LateResultNotFound
from app.domain.events import EventKind
from app.domain.json import Json
from app.domain.tasks import Status, Step, Task, step
from app.engine.ops import audit
from app.engine.ops.access import own
from app.engine.ops.queries import CHILDREN, lock_task
from app.engine.ops.settling import end_attempt, settle_task
from app.state import schema
from app.state.state import State
from app.state.statements import Statement
from app.state.tables import ATTEMPTS, LATE_RESULTS

_K = schema.tokens.c
_REVOKE_TOKENS = Statement(
    sa.update(schema.tokens)
    .where(_K.task_id == sa.bindparam("of_task"), _K.revoked_at.is_(None))
    .values(revoked_at=sa.bindparam("at"))
)
_OUTCOME = {Status.PASS: Outcome.PASS, Status.BLOCKED: Outcome.BLOCKED, Status.CANCELLED: Outcome.CANCELLED}


def cancel(state: State, caller: Caller, task_id: str, reason: str | None) -> Task:
    """Cancel the task and its descendants in one transaction. Cancelling a cancelled task succeeds and does nothing.

    Raises TaskNotFound, TokenTaskMismatch, InvalidTransition (a passed task).
    """
    own(state, caller, task_id, Verb.CANCEL_TASK)
    task = lock_task(state, task_id)
    if task.status is Status.CANCELLED:
        return task
    step(task.id, task.status, Step.CANCEL)
    task = _cancel_one(state, task, by=caller.subject, reason=reason)
    _cancel_descendants(state, task.id, by=caller.subject)
    return task


def _cancel_descendants(state: State, task_id: str, *, by: str) -> None:
    """Cancel every task spawned under this one. A child that passed keeps its result; its tokens are revoked."""
    for found in CHILDREN.all(state.db, parent=task_id):
        child = lock_task(state, found.id)
        if child.status not in (Status.PASS, Status.CANCELLED):
            _cancel_one(state, child, by=by, reason=f"{task_id} was cancelled")
        else:
            _REVOKE_TOKENS.change(state.db, of_task=child.id, at=state.now)
        _cancel_descendants(state, child.id, by=by)


def _cancel_one(state: State, task: Task, *, by: str, reason: str | None) -> Task:
    _end_live(state, task, Reason.CANCELLED, Status.CANCELLED, reason)
    _REVOKE_TOKENS.change(state.db, of_task=task.id, at=state.now)
    data = {"by": by} | ({"reason": reason} if reason else {})
    return settle_task(state, task, Status.CANCELLED, result=task.last_result, **data)


def _end_live(state: State, task: Task, reason: Reason, status: Status, detail: str | None = None) -> None:
    if not task.live:
        return
    attempt = ATTEMPTS.get(state.db, task.id, task.attempt)
    if attempt is not None and attempt.is_live:
        end_attempt(state, attempt, outcome=_OUTCOME[status], reason=reason, detail=detail)


def mark(state: State, caller: Caller, task_id: str, *, ok: bool, value: Json | None) -> Task:
    """Apply an operator's verdict. A live attempt is ended; `value` replaces the result when it is given."""
    return _judge(state, caller, task_id, Step.MARK_PASS if ok else Step.MARK_BLOCKED, value)


def override(state: State, caller: Caller, task_id: str, *, ok: bool, value: Json | None) -> Task:
    """Apply a senior's verdict, also to a passed task."""
    task = _judge(state, caller, task_id, Step.OVERRIDE_PASS if ok else Step.OVERRIDE_BLOCKED, value)
    state.emit(EventKind.VERDICT_OVERRIDDEN, task_id=task.id, attempt=task.attempt, by=caller.subject, ok=ok)
    return task


def _judge(state: State, caller: Caller, task_id: str, what: Step, value: Json | None) -> Task:
    task = lock_task(state, task_id)
    after = step(task.id, task.status, what)
    _end_live(state, task, Reason.VERDICT, after)
    audit.by(state, caller, what.value, target=task.id, status=after.value)
    result = value if value is not None else task.last_result
    return settle_task(state, task, after, result=result, by=caller.subject, verdict=what.value)


def adopt(state: State, caller: Caller, task_id: str, number: int, index: int, *, senior: bool) -> Task:
    """Make a late result the task's result, as a verdict of the caller. Raises LateResultNotFound."""
    task = lock_task(state, task_id)
    late = LATE_RESULTS.get(state.db, task_id, number, index)
    if late is None:
        raise LateResultNotFound(task_id, number, index)
    judge = override if senior else mark
    task = judge(state, caller, task.id, ok=late.ok, value=late.value)
    LATE_RESULTS.update(state.db, task_id, number, index, adopted_at=state.now, adopted_by=caller.subject)
    state.emit(EventKind.LATE_RESULT_ADOPTED, task_id=task_id, attempt=number, index=index, by=caller.subject)
    return task
