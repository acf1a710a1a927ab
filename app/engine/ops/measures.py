"""Measures of the whole database that operators alarm on: queues, webhooks, size. They read much: not on the loop."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import sqlalchemy as sa

from app.domain.clock import Instant
from app.domain.webhooks import Webhook
from app.engine.ops import webhooks
from app.state import feed, schema
from app.state.state import State
from app.state.statements import Statement

_A = schema.attempts.c
_QUEUES = Statement(
    sa.select(_A.namespace, _A.queue, sa.func.count(), sa.func.min(_A.started_at))
    .where(sa.text("phase = 'queued' AND paused_at IS NULL"))
    .group_by(_A.namespace, _A.queue)
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


def measure(state: State) -> Measures:
    """Return how things stand in all namespaces."""
    return Measures(
        at=state.now,
        queues=[QueueMeasure(*row) for row in _QUEUES.query(state.db)],
        webhooks=[_of(state, row) for row in webhooks.every(state)],
        database_bytes=int(state.db.query(_SIZE[state.db.dialect], ())[0][0]),
    )


def _of(state: State, row: Webhook) -> WebhookMeasure:
    behind = (event.at for event in feed.page(state.db, row.cursor, LOOKED_AT) if row.wants(event))
    return WebhookMeasure(row.namespace, row.id, row.failures, row.status == "paused", next(behind, None))
