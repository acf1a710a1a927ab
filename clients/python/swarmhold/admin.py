"""Administrators: API keys, webhooks and what commands do, for the holder of the root key."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta

from swarmhold.calls import read
from swarmhold.models.admin import ApiKey, CommandRequest, CreatedKey, KeyRequest
from swarmhold.models.enums import Role
from swarmhold.models.shapes import Page, given
from swarmhold.tasks import seconds
from swarmhold.transport import segment
from swarmhold.webhooks import WebhookCalls

_PATH = "/v1/admin/keys"
_COMMANDS = "/v1/admin/audit/commands"


class Admin(WebhookCalls):
    """Calls that make, list and revoke API keys and release their ids; and those about webhooks."""

    async def create_key(
        self,
        name: str,
        roles: Sequence[Role],
        *,
        ttl: timedelta | None = None,
        person: bool = False,
        email: str | None = None,
        idempotency_key: str | None = None,
    ) -> CreatedKey:
        """Create a key and return it; no later reply shows it again. `person`: it is a person's, and no agent's.

        Raises:
            ApiProblem: `name-taken` while another key of this name lives.
        """
        body = KeyRequest(name=name, roles=tuple(roles), person=person, **given(ttl=seconds(ttl), email=email))
        return read(CreatedKey, await self._transport.create(_PATH, body, key=idempotency_key))

    async def keys(self) -> list[ApiKey]:
        """Return every key without its secret."""
        return await self._all(_PATH, Page[ApiKey])

    async def revoke_key(self, key_id: str) -> None:
        """Revoke a key: nothing can attach or claim with it any more."""
        await self._transport.delete(f"{_PATH}/{segment(key_id)}")

    async def release_id(self, id: str) -> None:
        """Release an id of a bridge, hook or backend from the key that owns it, and close its connection."""
        await self._transport.delete(f"/v1/admin/ids/{segment(id)}")

    async def record_command(self, row: CommandRequest) -> None:
        """Put a row on the audit log about what a command does beside the server."""
        await self._transport.post(_COMMANDS, row)
