"""Webhooks: create, move and delete them, and record the result of each delivery."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa

from app.domain.clock import Instant
from app.domain.errors import InvalidRequest, KeyNotFound, WebhookInvalid, WebhookNotFound
from app.domain.events import Event, EventKind
from app.domain.json import Json
from app.domain.names import check_name
from app.domain.notices import Content
from app.domain.tokens import ApiKey
from app.domain.webhooks import Webhook, WebhookSpec, WebhookStatus
from app.engine.ops import audit
from app.engine.ops.links import person_named
from app.state import feed, schema
from app.state.state import State
from app.state.statements import Statement
from app.state.tables import API_KEYS, NODES, QUESTIONS, WEBHOOKS

MAX_WEBHOOKS = 100
TOPIC = "webhooks"

_W = schema.webhooks.c
_ALL = WEBHOOKS.search(order=(_W.id,))
_LIVES = sa.exists().where(schema.nodes.c.id == _W.node, schema.nodes.c.dead_at.is_(None))
_FORGET_MESSAGES = Statement(
    sa.delete(schema.webhook_messages).where(schema.webhook_messages.c.webhook_id == sa.bindparam("of_webhook"))
)
_FREE = WEBHOOKS.search(
    _W.status == WebhookStatus.ACTIVE.value,
    sa.or_(_W.node == sa.bindparam("of_node"), sa.not_(_LIVES)),
    order=(_W.id,),
)


def is_ahead(state: State, webhook_id: str) -> bool:
    """Return whether a webhook's cursor lies ahead of the feed, so that nothing would be delivered for long."""
    row = WEBHOOKS.get(state.db, webhook_id)
    return row is not None and row.cursor > feed.head(state.db)


def _require_no_future(state: State, after: int) -> None:
    if after > (head := feed.head(state.db)):
        raise InvalidRequest(f"the feed has not reached this cursor yet; give {head} or an earlier one", "after")


def rewind(state: State, webhook_id: str) -> Webhook | None:
    """Let a webhook whose cursor lies ahead of the feed go on from the head; return it, or None if it does not."""
    row, head = WEBHOOKS.lock(state.db, webhook_id), feed.head(state.db)
    if row is None or row.cursor <= head:
        return None
    why = f"its cursor {row.cursor} lay ahead of the feed, which ended at {head}: it goes on from there"
    WEBHOOKS.update(state.db, row.id, cursor=head, epoch=row.epoch + 1, last_error=why)
    _changed(state, "webhook_rewound", row, by="server")
    return find(state, row.id)


def create(state: State, spec: WebhookSpec, *, namespace: int, by: ApiKey) -> Webhook:
    """Create a webhook. Raises InvalidName, WebhookInvalid, and InvalidRequest when there are too many."""
    check_name(spec.name, "name")
    if len(_ALL.all(state.db)) >= MAX_WEBHOOKS:
        raise InvalidRequest(f"a server has at most {MAX_WEBHOOKS} webhooks; delete one", "url")
    if spec.after is not None:
        _require_no_future(state, spec.after)
    row = Webhook(
        id=state.ids.new("H"),
        name=spec.name,
        url=spec.url,
        kinds=None if spec.kinds is None else Json.of(sorted(set(spec.kinds))),
        status=WebhookStatus.ACTIVE,
        reason=None,
        cursor=feed.head(state.db) if spec.after is None else spec.after,
        epoch=0,
        failures=0,
        failing_since=None,
        next_at=None,
        last_error=None,
        delivered=0,
        delivered_at=None,
        created_at=state.now,
        created_by=audit.name_of(by),
        namespace=namespace,
        key_id=by.id,
        format=spec.format,
        secret_number=1,
        content=(spec.content or Content.SUMMARY) if spec.format.is_chat else None,
        template=spec.template,
        sign=spec.sign,
        instance=spec.instance,
        sealed_secret=spec.sealed_secret,
        links=None if spec.links is None else _person(state, namespace, spec.links),
    )
    WEBHOOKS.insert(state.db, row)
    _changed(state, "webhook_created", row, by=by)
    return row


def _person(state: State, namespace: int, named: str) -> str:
    """Return the id of the key of the person for whom messages have answer links. Raises WebhookInvalid."""
    try:
        return person_named(state, namespace, named).id
    except (KeyNotFound, InvalidRequest) as error:
        raise WebhookInvalid(
            "name a key of this namespace that was made with the role senior and person: true", "links"
        ) from error


def reports(state: State, row: Webhook, event: Event) -> bool:
    """Return whether an event that closes a question is about one that the webhook's instance asked, and still may."""
    data: dict[str, Any] = {} if event.data is None else event.data.value
    question = QUESTIONS.get(state.db, str(data.get("key")))
    if question is None or row.instance not in question.asker_keys.value:
        return False
    key = API_KEYS.get(state.db, row.instance or "")
    return key is not None and key.revoked_at is None


def every(state: State) -> list[Webhook]:
    """Return all webhooks, the oldest first."""
    return _ALL.all(state.db)


def to_serve(state: State, node: str) -> list[Webhook]:
    """Return the webhooks that are not paused and to which a node delivers, or may: no living node does."""
    return _FREE.all(state.db, of_node=node)


def take_turn(state: State, node: str, webhook_id: str) -> bool:
    """Let a node deliver to a webhook from now on, in place of a node that left; False while a living one does."""
    row = WEBHOOKS.lock(state.db, webhook_id)
    if row is None or row.node == node:
        return row is not None
    other = None if row.node is None else NODES.get(state.db, row.node)
    if other is not None and other.dead_at is None:
        return False
    WEBHOOKS.update(state.db, row.id, node=node, epoch=row.epoch + 1)
    return True


def find(state: State, webhook_id: str) -> Webhook:
    """Return a webhook. Raises WebhookNotFound."""
    row = WEBHOOKS.get(state.db, webhook_id)
    if row is None:
        raise WebhookNotFound(webhook_id)
    return row


def delete(state: State, webhook_id: str, *, by: ApiKey | str) -> None:
    """Delete a webhook. Raises WebhookNotFound."""
    row = _locked(state, webhook_id)
    WEBHOOKS.delete(state.db, row.id)
    _FORGET_MESSAGES.change(state.db, of_webhook=row.id)
    _changed(state, "webhook_deleted", row, by=by)


def replay(state: State, webhook_id: str, after: int, *, by: ApiKey | str) -> Webhook:
    """Deliver again the events after a cursor; this resumes a paused webhook.

    Raises WebhookNotFound, InvalidRequest.
    """
    _require_no_future(state, after)
    return _begin(state, webhook_id, by=by, action="webhook_replayed", cursor=after)


def resume(state: State, webhook_id: str, *, by: ApiKey | str) -> Webhook:
    """Resume deliveries at once, from the committed cursor. Raises WebhookNotFound."""
    return _begin(state, webhook_id, by=by, action="webhook_resumed")


def pause(state: State, webhook_id: str, *, by: ApiKey | str) -> Webhook:
    """Pause deliveries until the webhook is resumed. Raises WebhookNotFound."""
    row = _locked(state, webhook_id)
    WEBHOOKS.update(
        state.db, row.id, status=WebhookStatus.PAUSED, reason=f"paused by {audit.name_of(by)}", epoch=row.epoch + 1
    )
    _changed(state, "webhook_paused", row, by=by)
    return find(state, row.id)


def rotate(state: State, webhook_id: str, *, by: ApiKey | str) -> Webhook:
    """Give a webhook its next secret. Raises WebhookNotFound, WebhookInvalid for one that has none."""
    row = _locked(state, webhook_id)
    if not row.has_secret:
        raise WebhookInvalid(
            "it has no secret of this server; swarmhold keys rotate-signing rotates the server's keys", "webhook_id"
        )
    WEBHOOKS.update(state.db, row.id, secret_number=row.secret_number + 1, rotated_at=state.now)
    _changed(state, "webhook_rotated", row, by=by)
    return find(state, row.id)


def _begin(state: State, webhook_id: str, *, by: ApiKey | str, action: str, cursor: int | None = None) -> Webhook:
    row = _locked(state, webhook_id)
    moved = {} if cursor is None else {"cursor": cursor, "retry_to": None}
    WEBHOOKS.update(
        state.db,
        row.id,
        **moved,
        status=WebhookStatus.ACTIVE,
        reason=None,
        epoch=row.epoch + 1,
        failures=0,
        failing_since=None,
        next_at=None,
    )
    _changed(state, action, row, by=by)
    return find(state, row.id)


def _locked(state: State, webhook_id: str) -> Webhook:
    row = WEBHOOKS.lock(state.db, webhook_id)
    if row is None:
        raise WebhookNotFound(webhook_id)
    return row


def _changed(state: State, action: str, row: Webhook, *, by: ApiKey | str, **detail: Any) -> None:
    audit.record(state, by, action, target=row.id, namespace=row.namespace, name=row.name, url=row.shown_url, **detail)
    state.wake(TOPIC)
    state.wake(topic_of(row.id))


def topic_of(webhook_id: str) -> str:
    """Return the topic that hints for its deliveries are published on."""
    return f"webhook:{webhook_id}"


# Deliveries


@dataclass(frozen=True, slots=True, kw_only=True)
class Failure:
    """Why a delivery failed, the pause before the next attempt, and whether to pause the webhook at once (`final`).

    `retry_to` is the cursor of the last event that was sent.
    """

    detail: str
    pause_ms: int
    final: bool = False
    retry_to: int


def advance(
    state: State, seen: Webhook, cursor: int, delivered: int, *, record: Callable[[State], None] | None = None
) -> None:
    """Commit `cursor` as delivered, unless somebody moved the webhook meanwhile, and `record` what was sent."""
    row = WEBHOOKS.lock(state.db, seen.id)
    if row is not None and record is not None:
        record(state)
    if row is None or row.epoch != seen.epoch or cursor <= row.cursor:
        return
    changes = {"delivered": row.delivered + delivered, "delivered_at": state.now} if delivered else {}
    cleared = {"failures": 0, "failing_since": None, "next_at": None, "last_error": None, "retry_to": None}
    # What failed may be nothing to send any more: it is not counted towards a pause by later failures.
    behind = row.retry_to is not None and cursor >= row.retry_to
    cleared = cleared if delivered or behind else {}
    WEBHOOKS.update(state.db, row.id, cursor=cursor, **changes, **cleared)


def failed(state: State, seen: Webhook, failure: Failure, *, pause_after_ms: int) -> Instant | None:
    """Record a failed delivery: schedule the next attempt, or pause the webhook after `pause_after_ms` of failures.

    Returns when the next attempt is; None when there is none, or the webhook was changed meanwhile.
    """
    row = WEBHOOKS.lock(state.db, seen.id)
    if row is None or row.epoch != seen.epoch:
        return None
    since = row.failing_since or state.now
    changes = {
        "failures": row.failures + 1,
        "failing_since": since,
        "last_error": failure.detail,
        "retry_to": failure.retry_to,
    }
    if not failure.final and state.now - since < pause_after_ms:
        next_at = state.now + failure.pause_ms
        WEBHOOKS.update(state.db, row.id, next_at=next_at, **changes)
        return next_at
    reason = f"failing: {failure.detail}"
    WEBHOOKS.update(
        state.db, row.id, status=WebhookStatus.PAUSED, reason=reason, epoch=row.epoch + 1, next_at=None, **changes
    )
    state.emit(
        EventKind.WEBHOOK_PAUSED,
        namespace=row.namespace,
        webhook_id=row.id,
        name=row.name,
        reason=failure.detail,
    )
    _changed(state, "webhook_paused", row, by="server")
    return None
