"""Webhooks: where the server sends events."""

from __future__ import annotations

from collections.abc import Sequence

from swarmhold.callers import Caller
from swarmhold.listings import every_item
from swarmhold.models.pages import Page
from swarmhold.models.shapes import given
from swarmhold.models.webhooks import CreatedWebhook, ReplayRequest, Webhook, WebhookRequest
from swarmhold.transport import part

_PATH = "/v1/admin/webhooks"


class WebhookCalls(Caller):
    """Making, watching and moving webhooks."""

    async def create_webhook(
        self,
        url: str,
        *,
        name: str = "webhook",
        events: Sequence[str] | None = None,
        after: int | None = None,
        idempotency_key: str | None = None,
    ) -> CreatedWebhook:
        """Send events of these kinds (None: all) to `url`, from behind the cursor `after` or from now on.

        This reply is the only one that shows the secret with which deliveries are signed.

        Raises:
            ApiProblem: the server's settings (`webhooks.allow`) do not have the URL, or there is no such kind.
        """
        body = WebhookRequest(url=url, name=name, **given(events=None if events is None else list(events), after=after))
        reply = await self._transport.create(_PATH, body, key=idempotency_key)
        return CreatedWebhook.model_validate_json(reply.content)

    async def webhooks(self) -> list[Webhook]:
        """All of them and how each fares."""
        return await every_item(self._transport, _PATH, Page[Webhook])

    async def webhook(self, webhook_id: str) -> Webhook:
        """One of them."""
        reply = await self._transport.get(f"{_PATH}/{part(webhook_id)}")
        return Webhook.model_validate_json(reply.content)

    async def pause_webhook(self, webhook_id: str) -> Webhook:
        """Deliver nothing until it is resumed; its place in the feed is kept."""
        return await self._move(webhook_id, "pause")

    async def resume_webhook(self, webhook_id: str) -> Webhook:
        """Go on from its place, at once."""
        return await self._move(webhook_id, "resume")

    async def replay_webhook(self, webhook_id: str, *, after: int) -> Webhook:
        """Deliver again what lies behind this cursor, 0 being the beginning; a paused one goes on with it."""
        return await self._move(webhook_id, "replay", ReplayRequest(after=after))

    async def delete_webhook(self, webhook_id: str) -> None:
        """Remove it. A delivery that is under way may still arrive."""
        await self._transport.delete(f"{_PATH}/{part(webhook_id)}")

    async def _move(self, webhook_id: str, how: str, body: ReplayRequest | None = None) -> Webhook:
        reply = await self._transport.post(f"{_PATH}/{part(webhook_id)}/{how}", body, repeatable=True)
        return Webhook.model_validate_json(reply.content)
