"""Measures of the whole database that operators alarm on: queues, webhooks, size. They read much: not on the loop."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple

import sqlalchemy as sa

from app.domain.clock import Instant
from app.domain.webhooks import Webhook
from app.engine.ops import webhooks
from app.engine.ops.nodes import DEAD_SHOWN_MS
from app.state import feed, schema
from app.state.state import State
from app.state.statements import Statement

_A = schema.attempts.c
_QUEUES = Statement(
    sa.select(_A.namespace, _A.queue, sa.func.count(), sa.func.min(_A.started_at))
    .where(sa.text("phase = 'queued' AND paused_at IS NULL"))
    .group_by(_A.namespace, _A.queue)
)
_N = schema.nodes.c
_NODES = Statement(
    sa.select(_N.draining, _N.dead_at.is_not(None), sa.func.count())
    .where(_N.seen_at > sa.bindparam("since"))
    .group_by(_N.draining, _N.dead_at.is_not(None))
)
_SIZE = {
    "sqlite": "SELECT page_count * page_size FROM pragma_page_count(), pragma_page_size()",
    "postgresql": "SELECT pg_database_size(current_database())",
}
LOOKED_AT = 200
"""Events behind a webhook's cursor among which the first that it wants is looked for."""


class QueueMeasure(NamedTuple):
    """How many attempts wait in a queue, and since when the oldest does."""

    namespace: int
    queue: str
    depth: int
    oldest_at: Instant


class WebhookMeasure(NamedTuple):
    """Failures of a webhook, and the instant of its oldest undelivered event; None when there is none."""

    namespace: int
    webhook: str
    failures: int
    paused: bool
    waiting_since: Instant | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Measures:
    """How things stand at `at`."""

    at: Instant
    queues: list[QueueMeasure]
    webhooks: list[WebhookMeasure]
    database_bytes: int
    nodes: Mapping[str, int]
    """How many nodes are alive, are draining, and died within the last hour."""
    unread: int
    """Events that are committed and that the readers of this node have not seen, `feed.COUNTED` at most."""
    unread_since: Instant | None
    """When the oldest of them happened."""


def measure(state: State, tail: int | None) -> Measures:
    """Return how things stand in all namespaces, for a node that has read the feed up to `tail`, if at all."""
    unread, unread_since = feed.unread(state.db, feed.head(state.db) if tail is None else tail)
    return Measures(
        at=state.now,
        queues=[QueueMeasure(*row) for row in _QUEUES.query(state.db)],
        webhooks=[_of(state, row) for row in webhooks.every(state)],
        database_bytes=int(state.db.query(_SIZE[state.db.dialect], ())[0][0]),
        nodes=_nodes(state),
        unread=unread,
        unread_since=unread_since,
    )


def _nodes(state: State) -> Counter[str]:
    found = Counter(alive=0, draining=0, dead=0)
    for draining, dead, count in _NODES.query(state.db, since=state.database_now() - DEAD_SHOWN_MS):
        found["dead" if dead else "draining" if draining else "alive"] += count
    return found


def _of(state: State, row: Webhook) -> WebhookMeasure:
    behind = (event.at for event in feed.page(state.db, row.cursor, LOOKED_AT) if row.wants(event))
    return WebhookMeasure(row.namespace, row.id, row.failures, row.status == "paused", next(behind, None))
