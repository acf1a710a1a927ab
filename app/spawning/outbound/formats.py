"""Bodies of deliveries: a batch of events, one event as Standard Webhooks 1.0 has it, or one CloudEvent 1.0; and the
notifications of the Agent Approval Protocol.

Events are rendered as the feed renders them, so that their numbers keep their digits.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any
from uuid import uuid5

from app.domain.clock import to_rfc3339
from app.domain.events import Event
from app.domain.ids import uuid_of
from app.domain.json import encode
from app.domain.webhooks import Webhook, WebhookFormat

Names = Callable[[int], str | None]
"""Returns the name of a namespace, None for all of them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Message:
    """One delivery. `id` identifies it at each repetition."""

    id: str
    body: bytes
    content_type: str = "application/json"


def render(row: Webhook, events: Sequence[Event], names: Names, *, source: str) -> Message:
    """Return the message to a webhook about these events, exactly one unless its format has batches."""
    documents = [event.document(names(event.namespace)) for event in events]
    if row.format is WebhookFormat.SWARMHOLD:
        batch = {"webhook_id": row.id, "events": documents}
        return Message(id=f"{row.id}.{events[0].cursor}-{events[-1].cursor}", body=encode(batch))
    if row.format is WebhookFormat.AAP:
        return _resolved(row, events[0])
    (document,) = documents
    id = f"E-{document['cursor']}"
    if row.format is WebhookFormat.STANDARD:
        return Message(id=id, body=encode(_standard(document)))
    body = encode(_cloud_event(document, source))
    return Message(id=id, body=body, content_type="application/cloudevents+json")


def _resolved(row: Webhook, event: Event) -> Message:
    """Say that a request of the Agent Approval Protocol was decided, and not how: the receiver reads it by its key."""
    data: dict[str, Any] = {} if event.data is None else event.data.value
    id = str(uuid5(uuid_of(row.id), str(event.cursor)))
    said = {
        "id": id,
        "type": "request.resolved",
        "instance_id": str(uuid_of(row.instance or "")),
        "request_id": str(uuid_of(data["key"])),
        "created_at": to_rfc3339(event.at),
    }
    return Message(id=id, body=encode(said))


def _standard(document: dict[str, Any]) -> dict[str, Any]:
    return {"type": f"swarmhold.{document['kind']}", "timestamp": document["at"], "data": document}


def _cloud_event(document: dict[str, Any], source: str) -> dict[str, Any]:
    subject = document.get("task_id") or document.get("key")
    return {
        "specversion": "1.0",
        "id": str(document["cursor"]),
        "source": source,
        "type": f"dev.swarmhold.{document['kind']}",
        **({} if subject is None else {"subject": subject}),
        "time": document["at"],
        **document.get("trace", {}),
        "datacontenttype": "application/json",
        "data": document,
    }
