"""Named queues: workers claim attempts, each attempt one worker."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa

from app.domain.attempts import Attempt, Phase, WorkerPayload
from app.domain.events import EventKind
from app.domain.handles import HandleMint
from app.domain.ids import is_id
from app.domain.names import check_name
from app.domain.tokens import ApiKey
from app.engine.ops import leases, loop
from app.engine.ops.attempts import new_handle, payload
from app.engine.ops.credentials import find_key, lock_key
from app.engine.ops.queries import queue_topic
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
    .limit(sa.bindparam("most", type_=sa.Integer))
    .with_for_update(skip_locked=True)
)
_NEXT = Statement(_WAITING)
_NEXT_FOR = Statement(_WAITING.where(_A.agent == sa.bindparam("of_agent")))


class Line:
    """The attempts next in line in a queue, for any agent or for some: what the claims of one transaction share.

    They are locked, as many as there are claims, at the first claim of a namespace; what other transactions have locked
    is passed over. Each API key is read and locked once.
    """

    def __init__(self, state: State, queue: str, agents: Sequence[str] = (), *, claims: int = 1) -> None:
        self.queue = queue
        self._state = state
        self._agents = agents
        self._claims = claims
        self._found: dict[int, list[tuple[Any, ...]]] = {}
        self._keys: dict[str, ApiKey] = {}
        self._locked: set[str] = set()

    def key(self, digest: str) -> ApiKey:
        """Return the valid API key with this digest. Raises Unauthenticated."""
        if (key := self._keys.get(digest)) is None:
            key = self._keys[digest] = find_key(self._state, digest)
        return key

    def lock_key(self, key: ApiKey) -> None:
        """Lock the key against revocation: see `credentials.lock_key`. Raises Unauthenticated."""
        if key.id not in self._locked:
            lock_key(self._state, key)
            self._locked.add(key.id)

    def waiting(self, namespace: int) -> list[tuple[Any, ...]]:
        """Return what is left for further claims: the keys of attempts, and by what they are ordered."""
        found = self._found.get(namespace)
        if found is None:
            found = self._found[namespace] = [] if loop.is_paused(self._state, namespace) else self._look(namespace)
        return found

    def give_back(self) -> None:
        """Wake those who passed over what was locked here and is not claimed."""
        for namespace, left in self._found.items():
            if left:
                self._state.wake(queue_topic(namespace, self.queue))

    def _look(self, namespace: int) -> list[tuple[Any, ...]]:
        where = {"of_namespace": namespace, "of_queue": self.queue, "most": self._claims}
        if not self._agents:
            return _NEXT.query(self._state.db, **where)
        found = [row for agent in self._agents for row in _NEXT_FOR.query(self._state.db, of_agent=agent, **where)]
        return sorted(found, key=lambda row: (-row[2], row[3], row[0]))


def claim(
    state: State, cfg: EngineCfg, mint: HandleMint, key: ApiKey, line: Line, *, namespace: int, worker: str
) -> Claim | None:
    """Give the worker of an API key the next attempt in line: highest priority first, then agent by agent in turn.

    None when nothing waits, or while dispatching is paused. Two claims never get the same attempt: its row is locked,
    and one that another claim has locked is passed over. Raises InvalidName for a queue that cannot be named now,
    once what was queued under such a name before is claimed, and Unauthenticated when the key was revoked meanwhile;
    then nothing is written, and what was in line still is.
    """
    waiting = line.waiting(namespace)
    if not waiting:
        check_name(line.queue, "queue")
        return None
    line.lock_key(key)
    task_id, number, *_ = waiting.pop(0)
    task = TASKS.get(state.db, task_id)
    attempt = ATTEMPTS.get(state.db, task_id, number)
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
        queue=line.queue,
    )
    state.wake(f"attempt:{task.id}")
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
