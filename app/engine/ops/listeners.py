"""Listeners of queues: the rows that server processes write now and then, and what workers hold."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import sqlalchemy as sa

from app.domain.attempts import Phase
from app.domain.clock import Instant
from app.state import schema
from app.state.observed import listeners
from app.state.state import State
from app.state.statements import Statement

SEEN_MS = 45_000
"""For how long a worker counts as listening after its process was last seen to be waited for."""
KEPT_MS = 15 * 60_000
"""For how long a worker that no longer listens is shown."""
MOST_WORKERS = 1_000
MOST_HELD = 20
"""How many of a worker's attempts are listed."""

_W, _A, _K = listeners.c, schema.attempts.c, schema.api_keys.c


class Listening(NamedTuple):
    """A worker's claims of one queue: since when it has listened, and when it was last seen."""

    namespace: int
    queue: str
    key_id: str
    worker: str
    listening: bool
    since: Instant
    last_seen: Instant


@dataclass(frozen=True, slots=True, kw_only=True)
class Held:
    """An attempt that a worker holds."""

    task_id: str
    attempt: int
    agent: str
    queue: str
    since: Instant
    last_seen_at: Instant | None


@dataclass(slots=True, kw_only=True)
class WorkerRow:
    """A worker of an API key: its queues, how many attempts it holds, and the first of them."""

    worker: str
    key_id: str
    key_name: str | None
    queues: list[Listening] = field(default_factory=list[Listening])
    held: int = 0
    holds: list[Held] = field(default_factory=list[Held])


class QueueRow(NamedTuple):
    """A queue that workers listen to or attempts wait in."""

    queue: str
    workers: int
    waiting: int


_FIELDS = (
    _W.namespace,
    _W.queue,
    _W.key_id,
    _W.worker,
    sa.func.max(_W.listening),
    sa.func.min(_W.since),
    sa.func.max(_W.last_seen),
)
_RECENT = Statement(
    sa.select(*_FIELDS)
    .where(_W.namespace == sa.bindparam("of_namespace"), _W.last_seen >= sa.bindparam("seen"))
    .group_by(_W.namespace, _W.queue, _W.key_id, _W.worker)
    .order_by(_W.worker, _W.key_id, _W.queue)
    .limit(sa.bindparam("most"))
)
_BY_QUEUE = Statement(
    sa.select(_W.queue, sa.func.count(sa.distinct(_W.key_id + sa.literal_column("' '") + _W.worker)))
    .where(
        _W.namespace == sa.bindparam("of_namespace"),
        _W.listening == sa.literal_column("1"),
        _W.last_seen >= sa.bindparam("seen"),
    )
    .group_by(_W.queue)
    .order_by(_W.queue)
)
_WAITING = Statement(
    sa.select(_A.queue, sa.func.count())
    .where(_A.namespace == sa.bindparam("of_namespace"), sa.text("phase = 'queued' AND paused_at IS NULL"))
    .group_by(_A.queue)
)
_HELD = Statement(
    sa.select(
        _A.worker_id, _A.claimed_key_id, _A.task_id, _A.attempt, _A.agent, _A.queue, _A.started_at, _A.last_seen_at
    )
    .where(
        sa.text("phase <> 'ended'"),
        _A.namespace == sa.bindparam("of_namespace"),
        _A.phase != Phase.QUEUED.value,
        _A.claimed_key_id.is_not(None),
    )
    .order_by(_A.task_id)
)
_KEY_NAME = Statement(sa.select(_K.name).where(_K.id == sa.bindparam("of_key")))
_OLD = Statement(sa.delete(listeners).where(_W.last_seen < sa.bindparam("before")))
_UPSERT = (
    "INSERT INTO listeners (namespace, queue, key_id, worker, node, listening, since, last_seen)"
    " VALUES ({0}, {0}, {0}, {0}, {0}, {0}, {0}, {0})"
    " ON CONFLICT (namespace, queue, key_id, worker, node) DO UPDATE"
    " SET listening = excluded.listening, since = excluded.since, last_seen = excluded.last_seen"
)
_UPSERTS = {"sqlite": _UPSERT.format("?"), "postgresql": _UPSERT.format("%s")}


def write(state: State, node: str, rows: Iterable[Listening]) -> None:
    """Write what a server process knows of its listeners, and forget those that no process has seen for long."""
    sql = _UPSERTS[state.db.dialect]
    for row in sorted(rows):
        key = (row.namespace, row.queue, row.key_id, row.worker, node)
        state.db.change(sql, (*key, int(row.listening), row.since, row.last_seen))
    _OLD.change(state.db, before=state.now - KEPT_MS)


def by_queue(state: State, namespace: int) -> dict[str, int]:
    """Return how many workers listen to each queue of a namespace that any listens to."""
    return dict(_BY_QUEUE.query(state.db, of_namespace=namespace, seen=state.now - SEEN_MS))


def queues(state: State, namespace: int) -> list[QueueRow]:
    """Return the queues of a namespace, by name: how many workers listen, and how many attempts wait."""
    listening = by_queue(state, namespace)
    waiting = dict(_WAITING.query(state.db, of_namespace=namespace))
    return [
        QueueRow(name, listening.get(name, 0), waiting.get(name, 0))
        for name in sorted(listening.keys() | waiting.keys())
    ]


def workers(state: State, namespace: int) -> list[WorkerRow]:
    """Return the workers that listen or hold something, by name; and for a while those that listened."""
    found: dict[tuple[str, str], WorkerRow] = {}

    def row(worker: str, key_id: str) -> WorkerRow:
        known = found.get((worker, key_id))
        if known is None:
            names = _KEY_NAME.query(state.db, of_key=key_id)
            known = found[worker, key_id] = WorkerRow(
                worker=worker, key_id=key_id, key_name=names[0][0] if names else None
            )
        return known

    for cells in _RECENT.query(state.db, of_namespace=namespace, seen=state.now - KEPT_MS, most=MOST_WORKERS):
        seen = Listening(*cells)
        is_listening = bool(seen.listening) and seen.last_seen >= state.now - SEEN_MS
        row(seen.worker, seen.key_id).queues.append(seen._replace(listening=is_listening))
    for worker, key_id, *held in _HELD.query(state.db, of_namespace=namespace):
        if (worker, key_id) in found or len(found) < MOST_WORKERS:
            _hold(row(worker or "", key_id), held)
    return sorted(found.values(), key=lambda one: (one.worker, one.key_id))


def _hold(row: WorkerRow, cells: list[Any]) -> None:
    row.held += 1
    if len(row.holds) < MOST_HELD:
        task_id, attempt, agent, queue, since, last_seen_at = cells
        row.holds.append(
            Held(
                task_id=task_id, attempt=attempt, agent=agent, queue=queue or "", since=since, last_seen_at=last_seen_at
            )
        )
