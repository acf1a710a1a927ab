"""API keys and webhooks, for whoever holds the root key."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta

from swarmhold.listings import every_item
from swarmhold.models.enums import Role
from swarmhold.models.keys import ApiKey, CreatedKey, KeyRequest
from swarmhold.models.pages import Page
from swarmhold.models.shapes import given
from swarmhold.tasks import seconds
from swarmhold.transport import part
from swarmhold.webhooks import WebhookCalls

_PATH = "/v1/admin/keys"


class Admin(WebhookCalls):
    """Making, listing and revoking API keys; and everything about webhooks."""

    async def create_key(
        self, name: str, roles: Sequence[Role], *, ttl: timedelta | None = None, idempotency_key: str | None = None
    ) -> CreatedKey:
        """A new key; this reply is the only one that shows it."""
        body = KeyRequest(name=name, roles=tuple(roles), **given(ttl=seconds(ttl)))
        reply = await self._transport.create(_PATH, body, key=idempotency_key)
        return CreatedKey.model_validate_json(reply.content)

    async def keys(self) -> list[ApiKey]:
        """The keys, without their secrets."""
        return await every_item(self._transport, _PATH, Page[ApiKey])

    async def revoke_key(self, key_id: str) -> None:
        """Revoke a key: nothing can attach or claim with it any more."""
        await self._transport.delete(f"{_PATH}/{part(key_id)}")
