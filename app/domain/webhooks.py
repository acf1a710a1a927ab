"""Webhooks: where events are sent, how far each has come, and how it fares."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import NamedTuple

from app.domain.clock import Instant
from app.domain.errors import InvalidRequest
from app.domain.events import Event, EventKind
from app.domain.json import Json

_KINDS = frozenset(kind.value for kind in EventKind)


class WebhookStatus(StrEnum):
    """Active ones are delivered to; a paused one keeps its place in the feed."""

    ACTIVE = "active"
    PAUSED = "paused"


class Webhook(NamedTuple):
    """One row of `webhooks`.

    Everything up to `cursor` was delivered or is not wanted; `kinds` is a list, None wants all. `epoch` grows when
    somebody moves or switches it, so that a delivery under way does not undo that. `failing_since`, `failures`,
    `next_at` and `last_error` tell of failures since the last success; `delivered` counts events.
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

    def wants(self, event: Event) -> bool:
        """Whether the event is one of its kinds."""
        return self.kinds is None or event.kind in self.kinds.value


@dataclass(frozen=True, slots=True, kw_only=True)
class WebhookSpec:
    """What is asked for: `after` is a cursor of the feed, None begins with what happens from now on."""

    name: str
    url: str
    kinds: tuple[str, ...] | None = None
    after: int | None = None

    def check(self) -> None:
        """Raise InvalidRequest for kinds that do not exist, or for none at all."""
        if self.kinds is None:
            return
        if not self.kinds:
            raise InvalidRequest("name at least one kind of event, or leave it out for all", "events")
        if unknown := sorted(set(self.kinds) - _KINDS):
            raise InvalidRequest(f"no such kind: {', '.join(unknown)[:200]}", "events")
