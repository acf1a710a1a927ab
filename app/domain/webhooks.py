"""Webhooks: where events are sent, how far each delivery has come, and its recent failures."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import NamedTuple

from app.domain.clock import Instant
from app.domain.errors import InvalidRequest
from app.domain.events import Event, EventKind
from app.domain.json import Json
from app.domain.namespaces import ALL_ID

_KINDS = frozenset(kind.value for kind in EventKind)


class WebhookStatus(StrEnum):
    """An active webhook is delivered to; a paused one keeps its position in the feed."""

    ACTIVE = "active"
    PAUSED = "paused"


class WebhookFormat(StrEnum):
    """The body of a delivery: a batch of events, one event as Standard Webhooks has it, or one CloudEvent."""

    SWARMHOLD = "swarmhold"
    STANDARD = "standard"
    CLOUDEVENTS = "cloudevents"


class Webhook(NamedTuple):
    """One row of `webhooks`.

    Every event up to `cursor` was delivered or filtered out; `kinds` is a list, None means all kinds. `epoch` grows
    when somebody moves, pauses or resumes it, or another node delivers from now on (`node`), so that a delivery in
    progress does not undo that. `failing_since`,
    `failures`, `next_at` and `last_error` describe the failures since the last success; `delivered` counts events.
    `secret_number` tells its secrets apart, 0 for that of a webhook of an earlier release; `rotated_at` is when the
    latest one replaced another. A batch that failed is sent again up to `retry_to` and no further.
    """

    id: str
    name: str
    url: str
    kinds: Json | None
    status: WebhookStatus
    reason: str | None
    cursor: int
    epoch: int
    failures: int
    failing_since: Instant | None
    next_at: Instant | None
    last_error: str | None
    delivered: int
    delivered_at: Instant | None
    created_at: Instant
    created_by: str
    namespace: int
    key_id: str | None
    node: str | None = None
    format: WebhookFormat = WebhookFormat.SWARMHOLD
    secret_number: int = 0
    rotated_at: Instant | None = None
    retry_to: int | None = None

    def wants(self, event: Event) -> bool:
        """Return whether the event is of its namespace, or everybody's, and of one of its kinds."""
        if event.namespace not in (self.namespace, ALL_ID):
            return False
        return self.kinds is None or event.kind in self.kinds.value


@dataclass(frozen=True, slots=True, kw_only=True)
class WebhookSpec:
    """The request for a webhook. `after` is a cursor of the feed; None starts with events from now on."""

    name: str
    url: str
    kinds: tuple[str, ...] | None = None
    after: int | None = None
    format: WebhookFormat = WebhookFormat.SWARMHOLD

    def check(self) -> None:
        """Raise InvalidRequest for unknown kinds or an empty list of kinds."""
        if self.kinds is None:
            return
        if not self.kinds:
            raise InvalidRequest("name at least one kind of event, or leave it out for all", "events")
        if unknown := sorted(set(self.kinds) - _KINDS):
            raise InvalidRequest(f"unknown kinds of events: {', '.join(unknown)[:200]}", "events")
