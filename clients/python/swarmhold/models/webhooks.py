"""Webhooks: where events are sent, as the holder of the root key sees them."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field, StringConstraints

from swarmhold.models.enums import WebhookStatus
from swarmhold.models.instants import Instant
from swarmhold.models.names import Name
from swarmhold.models.shapes import Request, Shape, integral

__all__ = ["CreatedWebhook", "ReplayRequest", "Webhook", "WebhookRequest"]

Cursor = Annotated[int, Field(strict=True, ge=0, le=2**53 - 1), integral]
Url = Annotated[
    str,
    StringConstraints(min_length=1, max_length=4096),
    Field(json_schema_extra={"pattern": r"^https?://[^\s\x00-\x1f]+$"}),
]


class WebhookRequest(Request):
    """Send events of these kinds (all without `events`) to `url`, beginning behind `after` or with what comes now."""

    url: Url
    name: Name = "webhook"
    events: Annotated[list[Name], Field(min_length=1, max_length=100)] | None = None
    after: Cursor | None = None


class ReplayRequest(Request):
    """Deliver again what lies behind this cursor; 0 is the beginning."""

    after: Cursor


class Webhook(Shape):
    """One webhook, without its secret.

    Everything up to `cursor` was delivered. A paused one says why in `reason`; `failures`, `failing_since`, `next_at`
    and `last_error` are about failures since the last success.
    """

    id: str
    name: str
    url: str
    events: list[str] | None
    status: WebhookStatus
    reason: str | None = None
    cursor: int
    failures: int
    failing_since: Instant | None = None
    next_at: Instant | None = None
    last_error: str | None = None
    delivered: int
    delivered_at: Instant | None = None
    created_at: Instant


class CreatedWebhook(Webhook):
    """The one answer that shows what signs the deliveries."""

    secret: str = Field(repr=False)
