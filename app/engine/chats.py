"""Messages of chat webhooks: what an event is to people, with an answer link where there is one, sent and recorded."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial

from app.domain.answer_links import new_secret
from app.domain.events import Event
from app.domain.handles import HandleMint
from app.domain.webhooks import Webhook
from app.engine.ops import notices
from app.engine.ops.notices import NoticeParts
from app.spawning.outbound.webhooks import WebhookSender
from app.state.port import Store
from app.state.state import State


class Chats:
    """Sends one message at a time, for the task that delivers to a webhook."""

    def __init__(self, parts: NoticeParts, *, store: Store, webhook_sender: WebhookSender, mint: HandleMint) -> None:
        self._parts = parts
        self._store = store
        self._webhook_sender = webhook_sender
        self._mint = mint

    async def send(self, row: Webhook, secrets: Sequence[str], event: Event) -> Callable[[State], None] | None:
        """Send the message about an event; return what records it, or None when there was nothing to say.

        Only the message has the secret of its answer link, the database a digest. Raises DeliveryFailed.
        """
        parts, linked = self._parts, row.links is not None and self._webhook_sender.answer_links
        if linked:
            secret = new_secret()
            parts = replace(parts, secret=secret, digest=self._mint.keyed_digest(secret))
        read = partial(notices.notice, parts=parts, row=row, event=event)
        found = await (self._store.transact("prepare_notice", read) if linked else self._store.read(read))
        if found is None:
            return None
        reference = await self._webhook_sender.send_notice(row, secrets, found)
        return lambda state: notices.sent(state, row, found, reference)
