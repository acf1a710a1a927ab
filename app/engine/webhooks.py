"""The engine's calls about webhooks, for whoever holds the root key."""

from __future__ import annotations

from app.domain.errors import InvalidRequest
from app.domain.webhooks import Webhook, WebhookSpec
from app.engine.access import AccessCalls
from app.engine.ops import credentials, webhooks
from app.engine.ops.idempotency import Idempotency, once
from app.state.state import State

SECRET_PREFIX = "whs_"


class WebhookCalls(AccessCalls):
    """Webhooks."""

    def webhook_secret(self, webhook_id: str) -> str:
        """What signs a webhook's deliveries: derived from the server's own key, so that no table holds it."""
        return SECRET_PREFIX + self._parts.mint.keyed_digest(f"webhook\0{webhook_id}")

    async def create_webhook(
        self, key_text: str, spec: WebhookSpec, *, idempotency: Idempotency | None = None
    ) -> tuple[Webhook, str]:
        """A new webhook and its secret. Raises InvalidRequest for a URL that the settings do not allow."""
        digest = self.digest_secret(key_text)
        await self.check_root_key(key_text)
        if self._parts.notices is None:
            raise InvalidRequest("the settings allow no URL (setting webhooks.allow)", "url")
        self._parts.notices.check(spec.url)
        spec.check()

        def run(state: State) -> Webhook:
            key = credentials.find_key(state, digest)
            return once(
                state,
                f"key:{key.id}:webhook",
                idempotency,
                lambda: webhooks.create(state, spec, by=f"key:{key.id}"),
                name=lambda made: made.id,
                again=lambda webhook_id: webhooks.find(state, webhook_id),
            )

        row = await self._do("create_webhook", run)
        return row, self.webhook_secret(row.id)

    async def list_webhooks(self, key_text: str) -> list[Webhook]:
        """All of them, oldest first."""
        await self.check_root_key(key_text)
        return await self._store.read(webhooks.every)

    async def read_webhook(self, key_text: str, webhook_id: str) -> Webhook:
        """One of them. Raises WebhookNotFound."""
        await self.check_root_key(key_text)
        return await self._store.read(lambda state: webhooks.find(state, webhook_id))

    async def delete_webhook(self, key_text: str, webhook_id: str) -> None:
        """Remove one. A delivery that is under way may still arrive. Raises WebhookNotFound."""
        by = await self._root(key_text)
        await self._do("delete_webhook", lambda state: webhooks.delete(state, webhook_id, by=by))

    async def replay_webhook(self, key_text: str, webhook_id: str, after: int) -> Webhook:
        """Deliver again from behind a cursor of the feed. Raises WebhookNotFound, InvalidRequest."""
        by = await self._root(key_text)
        return await self._do("replay_webhook", lambda state: webhooks.replay(state, webhook_id, after, by=by))

    async def pause_webhook(self, key_text: str, webhook_id: str) -> Webhook:
        """Deliver nothing until it is resumed; its place is kept. Raises WebhookNotFound."""
        by = await self._root(key_text)
        return await self._do("pause_webhook", lambda state: webhooks.pause(state, webhook_id, by=by))

    async def resume_webhook(self, key_text: str, webhook_id: str) -> Webhook:
        """Go on from its place, at once. Raises WebhookNotFound."""
        by = await self._root(key_text)
        return await self._do("resume_webhook", lambda state: webhooks.resume(state, webhook_id, by=by))

    async def _root(self, key_text: str) -> str:
        return f"key:{(await self.check_root_key(key_text)).id}"
