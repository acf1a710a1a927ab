"""Webhooks: where the server sends events."""

from __future__ import annotations

from collections.abc import Sequence

from swarmhold.calls import Calls, read
from swarmhold.models.admin import CreatedWebhook, ReplayRequest, Webhook, WebhookKeys, WebhookRequest
from swarmhold.models.shapes import Page, given
from swarmhold.transport import segment

_PATH = "/v1/admin/webhooks"


class WebhookCalls(Calls):
    """Calls that make, watch and move webhooks."""

    async def create_webhook(
        self,
        url: str,
        *,
        name: str = "webhook",
        events: Sequence[str] | None = None,
        after: int | None = None,
        namespace: str | None = None,
        format: str | None = None,
        content: str | None = None,
        template: str | None = None,
        links: str | None = None,
        sign: str | None = None,
        idempotency_key: str | None = None,
    ) -> CreatedWebhook:
        """Create a webhook: events of these kinds (None: all) go to `url`, from the cursor `after` or from now on.

        They are the events of one namespace, by default `default`, in batches or as `format` says (`standard`,
        `cloudevents`, or for people `slack`, `teams`, `discord`, `ntfy`, `template`, `mail` with a `mailto:` URL, and
        `apprise` with a URL of Apprise).
        `content` (`none`, `summary`, `full`) is how much of a question people see, `links` the id or name of the key of
        a person who gets answer links, `template` a JSON text with `{{field|json}}` for each value.

        This reply is the only one that shows the secret with which deliveries are signed. With `sign="asymmetric"`
        there is none: the server's key signs them, and `webhook_keys` returns its public half.

        Raises:
            ApiProblem: the server's settings (`webhooks.allow`) do not have the URL, there is no such kind, or the
                fields contradict each other.
        """
        kinds = None if events is None else list(events)
        body = WebhookRequest(
            url=url,
            name=name,
            **given(
                events=kinds,
                after=after,
                namespace=namespace,
                format=format,
                content=content,
                template=template,
                links=links,
                sign=sign,
            ),
        )
        return read(CreatedWebhook, await self._transport.create(_PATH, body, key=idempotency_key))

    async def webhook_keys(self) -> WebhookKeys:
        """Return the public keys that verify the deliveries of webhooks with `sign="asymmetric"`, the newest first."""
        return read(WebhookKeys, await self._transport.get("/.well-known/swarmhold-webhook-keys"))

    async def webhooks(self, *, namespace: str | None = None) -> list[Webhook]:
        """Return every webhook (of one namespace) and its state."""
        return await self._all(_PATH, Page[Webhook], {"namespace": namespace})

    async def webhook(self, webhook_id: str) -> Webhook:
        """Return one webhook."""
        return read(Webhook, await self._transport.get(f"{_PATH}/{segment(webhook_id)}"))

    async def pause_webhook(self, webhook_id: str) -> Webhook:
        """Pause deliveries until the webhook is resumed; its cursor is kept."""
        return await self._move(webhook_id, "pause")

    async def resume_webhook(self, webhook_id: str) -> Webhook:
        """Resume deliveries from its cursor, at once."""
        return await self._move(webhook_id, "resume")

    async def replay_webhook(self, webhook_id: str, *, after: int) -> Webhook:
        """Deliver the events after this cursor again, 0 being the beginning; a paused webhook is resumed."""
        return await self._move(webhook_id, "replay", ReplayRequest(after=after))

    async def rotate_webhook(self, webhook_id: str, *, idempotency_key: str | None = None) -> CreatedWebhook:
        """Give a webhook a new secret, which this reply alone shows; for a day the one before signs as well."""
        path = f"{_PATH}/{segment(webhook_id)}/rotate"
        return read(CreatedWebhook, await self._transport.create(path, None, key=idempotency_key))

    async def delete_webhook(self, webhook_id: str) -> None:
        """Delete a webhook. A delivery that is under way may still arrive."""
        await self._transport.delete(f"{_PATH}/{segment(webhook_id)}")

    async def _move(self, webhook_id: str, how: str, body: ReplayRequest | None = None) -> Webhook:
        return read(Webhook, await self._transport.post(f"{_PATH}/{segment(webhook_id)}/{how}", body, repeatable=True))
