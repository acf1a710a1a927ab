"""An attempt that was prepared: its facts, its start, what fails it, and what its worker may read."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa

from app.domain.attempts import Attempt, Outcome, Phase, Reason, WorkerPayload
from app.domain.errors import AttemptNotFound, AttemptSuperseded, Cancelled, TaskNotFound
from app.domain.handles import HandleMint
from app.domain.json import Json
from app.domain.questions import QuestionStatus
from app.domain.sessions import OperatorKind
from app.domain.tasks import Status, Step, Task, step
from app.engine.ops import clocks
from app.engine.ops.access import (
    ended_because,
    lock_task,
)
from app.engine.ops.endings import end_while_suspended, fail, failure, settle
from app.engine.ops.rules import EngineCfg
from app.spawning.ports import Facts
from app.state import schema
from app.state.state import State
from app.state.statements import Statement
from app.state.tables import ATTEMPTS, QUESTIONS, SESSIONS, TASKS

_Q = schema.questions.c
_ANSWERED = QUESTIONS.search(
    _Q.task_id == sa.bindparam("task_id"), _Q.status == QuestionStatus.ANSWERED.value, order=(_Q.key,)
)
_INSERT_HANDLE = Statement(sa.insert(schema.handles))


def facts_of(state: State, task: Task, number: int, kind: str, hints: tuple[str, ...], session_id: str | None) -> Facts:
    """What every step of an attempt knows, with the session's part of it."""
    session = SESSIONS.get(state.db, session_id) if session_id else None
    operator_kind: OperatorKind | None = session.kind_for(task.agent) if session else None
    return Facts(
        task_id=task.id,
        attempt=number,
        agent=task.agent,
        spawner=kind,
        layers=hints,
        session_id=session_id,
        kind=operator_kind,
        hook_id=session.hook_id if session else None,
        bridge_id=session.bridge_id if session else None,
        operator_backend_id=session.operator_backend_id if session else None,
    )


def facts_for(state: State, task: Task, attempt: Attempt) -> Facts:
    """The facts of an attempt that was prepared before."""
    router = str(attempt.spawner.value.get("kind", attempt.kind))
    return facts_of(state, task, attempt.attempt, router, tuple(attempt.layers.value), attempt.session_id)


def new_handle(state: State, mint: HandleMint, task_id: str, number: int) -> str:
    """A fresh handle for the attempt, of which only the digest stays. Earlier ones stay good."""
    handle = mint.new()
    _INSERT_HANDLE.change(
        state.db, digest=mint.keyed_digest(handle), task_id=task_id, attempt=number, created_at=state.now
    )
    return handle


def require_own_attempt(state: State, task_id: str, number: int, *, epoch: int | None = None) -> tuple[Task, Attempt]:
    """The live attempt that a driver of this epoch walks. Raises AttemptSuperseded or Cancelled when fenced off."""
    task = lock_task(state, task_id)
    attempt = ATTEMPTS.get(state.db, task_id, number)
    if attempt is None:
        raise AttemptNotFound(task_id, number)
    if not attempt.is_live:
        if attempt.reason is Reason.CANCELLED:
            raise Cancelled(task_id)
        raise AttemptSuperseded(task_id, number, ended_because(attempt))
    if epoch is not None and attempt.epoch != epoch:
        raise AttemptSuperseded(task_id, number, "another server process took it over")
    return task, attempt


def let_through(state: State, cfg: EngineCfg, attempt: Attempt) -> None:
    """Whoever had to agree has: a worker may act once it is called. Its handle lives from now, its lease later."""
    if attempt.phase is Phase.WAITING:
        changes = _running_clocks(state, cfg, attempt, leased=False)
        ATTEMPTS.update(state.db, attempt.task_id, attempt.attempt, phase=Phase.SPAWNING, **changes)
        state.wake(f"attempt:{attempt.task_id}")


def started(state: State, cfg: EngineCfg, task_id: str, number: int, *, epoch: int, into: Phase) -> None:
    """Phase two done: a worker has the attempt (or its queue has it); its clocks run from now."""
    _, attempt = require_own_attempt(state, task_id, number, epoch=epoch)
    if attempt.phase not in (Phase.WAITING, Phase.SPAWNING):
        return
    changes: dict[str, Any] = {"phase": into}
    if into is Phase.QUEUED:
        changes["due_at"] = None
    else:
        changes |= _running_clocks(state, cfg, attempt)
    ATTEMPTS.update(state.db, task_id, number, **changes)
    if into is Phase.QUEUED and attempt.queue is not None:
        state.wake(f"queue:{attempt.queue}")
    state.wake(f"attempt:{task_id}")


def _running_clocks(state: State, cfg: EngineCfg, attempt: Attempt, *, leased: bool = True) -> dict[str, Any]:
    """Lease and handle from now; those of a task that waits for a senior stand still from now."""
    lease = state.now + attempt.lease_ms if leased and attempt.lease_ms is not None else None
    handle = state.now + clocks.life_ms(cfg, attempt.lease_ms)
    changes = {"lease_expires_at": lease, "handle_expires_at": handle}
    if attempt.paused_at is None:
        due = clocks.next_due(lease, attempt.timeout_at, handle)
        state.due(due)
        return changes | {"due_at": due}
    stood = state.now - attempt.paused_at
    timeout = attempt.timeout_at + stood if attempt.timeout_at is not None else None
    return changes | {"timeout_at": timeout, "paused_at": state.now}


def heard(state: State, cfg: EngineCfg, task_id: str, number: int) -> None:
    """A sign of life of a worker. Nothing when its attempt is over by now."""
    lock_task(state, task_id)
    attempt = ATTEMPTS.get(state.db, task_id, number)
    if attempt is not None:
        clocks.renew(state, cfg, attempt)


def failed(state: State, task_id: str, number: int, *, epoch: int, reason: Reason, detail: str) -> None:
    """A spawn that was refused or went wrong, or a worker that ended without a Final: blocked, or retried.

    Nothing when a Final is being held for a senior: it came before.
    """
    task, attempt = require_own_attempt(state, task_id, number, epoch=epoch)
    if attempt.phase is Phase.HELD:
        return
    if reason is not Reason.WORKER_FAILED and task.status is Status.SUSPENDED:
        end_while_suspended(state, task, attempt, reason=reason, detail=detail, worker_gone=True)
        return
    what = Step.WORKER_FAILED if reason is Reason.WORKER_FAILED else Step.SPAWN_FAILED
    fail(
        state,
        task,
        attempt,
        what=what,
        outcome=Outcome.BLOCKED,
        reason=reason,
        detail=detail,
        worker_gone=True,
    )


def give_up_retry(state: State, task_id: str, reason: Reason, detail: str) -> None:
    """Block a task whose planned attempt cannot be. Nothing when none is planned any more."""
    task = lock_task(state, task_id)
    if task.retry_at is not None and task.status is Status.RUNNING:
        after = step(task.id, task.status, Step.SPAWN_FAILED)
        settle(state, task, after, result=failure(reason, detail), reason=reason.value)


def payload(state: State, task: Task, attempt: Attempt) -> WorkerPayload:
    """What the worker of this attempt needs to begin, with the answers so far, in the order of the questions."""
    answers: list[dict[str, object]] = []
    if task.asked:
        answers = [
            {
                "key": question.key,
                "question": question.question.value,
                "answer": question.answer.value if question.answer else None,
                "answered_by": question.answered_by,
                "answered_at": question.answered_at,
            }
            for question in _ANSWERED.all(state.db, task_id=task.id)
        ]
    return WorkerPayload(
        task_id=task.id,
        attempt=attempt.attempt,
        agent=task.agent,
        prompt=(attempt.prompt or task.directive).value,
        system=attempt.system.value if attempt.system else None,
        answers=answers,
    )


def bake_system(state: State, task_id: str, number: int, system: str | None) -> None:
    """Set the attempt's system prompt. Raises TaskNotFound, AttemptNotFound."""
    lock_task(state, task_id)
    value = Json.of(system) if system is not None else None
    if not ATTEMPTS.update(state.db, task_id, number, system=value):
        raise AttemptNotFound(task_id, number)


def require_attempt(state: State, task_id: str, number: int) -> tuple[Task, Attempt]:
    """The rows, unlocked. Raises TaskNotFound, AttemptNotFound."""
    task = TASKS.get(state.db, task_id)
    if task is None:
        raise TaskNotFound(task_id)
    attempt = ATTEMPTS.get(state.db, task_id, number)
    if attempt is None:
        raise AttemptNotFound(task_id, number)
    return task, attempt
