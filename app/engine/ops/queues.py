"""Named queues: workers claim attempts, each attempt one worker."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import sqlalchemy as sa

from app.domain.attempts import Attempt, Phase, WorkerPayload
from app.domain.events import EventKind
from app.domain.handles import HandleMint
from app.domain.ids import is_id
from app.domain.names import check_name
from app.domain.tokens import ApiKey
from app.engine.ops import leases, loop
from app.engine.ops.attempts import new_handle, payload
from app.engine.ops.credentials import lock_key
from app.engine.ops.rules import EngineCfg
from app.state import schema
from app.state.state import State
from app.state.statements import Statement
from app.state.tables import ATTEMPTS, QUESTIONS, TASKS

_A = schema.attempts.c


@dataclass(frozen=True, slots=True, kw_only=True)
class Claim:
    """A claimed attempt: its handle, what to do, and until when to send a heartbeat."""

    handle: str
    payload: WorkerPayload
    lease_expires_at: int | None


# The condition is the index's own: what waits for a senior has its clocks stopped and is nobody's to claim.
_WAITING = (
    sa.select(_A.task_id, _A.attempt, _A.priority, _A.turn)
    .where(
        _A.namespace == sa.bindparam("of_namespace"),
        _A.queue == sa.bindparam("of_queue"),
        sa.text("phase = 'queued' AND paused_at IS NULL"),
    )
    .order_by(_A.priority.desc(), _A.turn, _A.task_id)
    .limit(1)
    .with_for_update(skip_locked=True)
)
_NEXT = Statement(_WAITING)
_NEXT_FOR = Statement(_WAITING.where(_A.agent == sa.bindparam("of_agent")))


def claim(
    state: State,
    cfg: EngineCfg,
    mint: HandleMint,
    key: ApiKey,
    *,
    namespace: int,
    queue: str,
    agents: Sequence[str],
    worker: str,
) -> Claim | None:
    """Give the worker of an API key the next attempt of the queue: highest priority first, then agent by agent in turn.

    None when nothing waits, or while dispatching is paused. Two claims never get the same attempt: its row is locked,
    and one that another claim has locked is passed over. Raises InvalidName for a queue that cannot be named now,
    once what was queued under such a name before is claimed, and Unauthenticated when the key was revoked meanwhile.
    """
    found = None if loop.is_paused(state, namespace) else _candidate(state, namespace, queue, agents)
    if found is None:
        check_name(queue, "queue")
        return None
    task = TASKS.get(state.db, found[0])
    attempt = ATTEMPTS.get(state.db, *found)
    if task is None or attempt is None:
        return None
    if task.trace is not None:
        state.carry_trace(task.id, task.trace)
    deadlines = leases.at_claim(state, cfg, attempt, timeout_ms=task.attempt_timeout_ms)
    ATTEMPTS.update(
        state.db,
        task.id,
        attempt.attempt,
        phase=Phase.RUNNING,
        worker_id=worker,
        claimed_key_id=key.id,
        **deadlines,
    )
    state.emit(
        EventKind.WORKER_CLAIMED,
        namespace=task.namespace,
        task_id=task.id,
        attempt=attempt.attempt,
        worker=worker,
        queue=queue,
    )
    state.wake(f"attempt:{task.id}")
    lock_key(state, key)
    handle = new_handle(state, mint, task.id, attempt.attempt)
    expires_at = deadlines["lease_expires_at"]
    return Claim(handle=handle, payload=payload(state, cfg, task, attempt), lease_expires_at=expires_at)


def claimed(state: State, cfg: EngineCfg, mint: HandleMint, task_id: str, number: int, worker: str) -> Claim | None:
    """Return the claim that this worker made before, with a fresh handle, because the first reply may be lost.

    None when the attempt is over or not this worker's any more.
    """
    task = TASKS.get(state.db, task_id)
    attempt = ATTEMPTS.get(state.db, task_id, number)
    if task is None or attempt is None or attempt.phase is not Phase.RUNNING or attempt.worker_id != worker:
        return None
    handle = new_handle(state, mint, task_id, number)
    return Claim(handle=handle, payload=payload(state, cfg, task, attempt), lease_expires_at=attempt.lease_expires_at)


def claimed_by(state: State, key: ApiKey, about: str) -> Attempt | None:
    """Return the attempt that a text names, if it was claimed with this key; None for any other text.

    The text is `<task>.<attempt>`, a task or a question of it, whose latest attempt is meant.
    """
    task_id, _, number = about.partition(".")
    if is_id(about, "R"):
        question = QUESTIONS.get(state.db, about)
        task_id = "" if question is None else question.task_id
    if not number:
        task = TASKS.get(state.db, task_id)
        number = "0" if task is None else str(task.attempt)
    if not (number.isascii() and number.isdecimal() and len(number) < 10):
        return None
    attempt = ATTEMPTS.get(state.db, task_id, int(number))
    return attempt if attempt is not None and attempt.claimed_key_id == key.id else None


def _candidate(state: State, namespace: int, queue: str, agents: Sequence[str]) -> tuple[str, int] | None:
    """Return the next attempt in line for any agent, or for these agents."""
    if agents:
        found = [
            row
            for agent in agents
            for row in _NEXT_FOR.query(state.db, of_namespace=namespace, of_queue=queue, of_agent=agent)
        ]
    else:
        found = _NEXT.query(state.db, of_namespace=namespace, of_queue=queue)
    if not found:
        return None
    task_id, number, *_ = min(found, key=lambda row: (-row[2], row[3], row[0]))
    return task_id, number
