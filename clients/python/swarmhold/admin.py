"""Administrators: API keys, webhooks and what commands do, for the holder of the root key."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta

from swarmhold.calls import read
from swarmhold.models.admin import ApiKey, CommandRequest, CreatedKey, KeyRequest, Namespace, Namespaces
from swarmhold.models.enums import Role
from swarmhold.models.server import LoopSwitch
from swarmhold.models.shapes import Page, given
from swarmhold.published import SkillCalls
from swarmhold.tasks import seconds
from swarmhold.transport import segment
from swarmhold.webhooks import WebhookCalls

_ADMIN = "/v1/admin"
_PATH = f"{_ADMIN}/keys"
_COMMANDS = f"{_ADMIN}/audit/commands"


class Admin(SkillCalls, WebhookCalls):
    """Calls about API keys and the ids that they own, webhooks and published skills."""

    async def create_key(
        self,
        name: str,
        roles: Sequence[Role],
        *,
        ttl: timedelta | None = None,
        namespace: str = "default",
        person: bool = False,
        email: str | None = None,
        idempotency_key: str | None = None,
    ) -> CreatedKey:
        """Create a key and return it; no later reply shows it again. `person`: it is a person's, and no agent's.

        Raises:
            ApiProblem: `name-taken` while another key of this name lives.
        """
        body = KeyRequest(
            name=name, roles=tuple(roles), namespace=namespace, person=person, **given(ttl=seconds(ttl), email=email)
        )
        return read(CreatedKey, await self._transport.create(_PATH, body, key=idempotency_key))

    async def keys(self, *, namespace: str | None = None) -> list[ApiKey]:
        """Return every key (of one namespace) without its secret."""
        return await self._all(_PATH, Page[ApiKey], {"namespace": namespace})

    async def revoke_key(self, key_id: str) -> None:
        """Revoke a key: nothing can attach or claim with it any more."""
        await self._transport.delete(f"{_PATH}/{segment(key_id)}")

    async def release_id(self, id: str, *, namespace: str = "default") -> None:
        """Release an id of a bridge, hook or backend from the key that owns it, and close its connection."""
        await self._transport.delete(f"{_ADMIN}/ids/{segment(id)}", params={"namespace": namespace})

    async def namespaces(self) -> list[Namespace]:
        """Return every namespace, by name, with what it holds."""
        return read(Namespaces, await self._transport.get(f"{_ADMIN}/namespaces")).items

    async def pause_loop(self) -> LoopSwitch:
        """Pause dispatching in all namespaces, whatever their own switches say."""
        return read(LoopSwitch, await self._transport.post(f"{_ADMIN}/loop/pause", repeatable=True))

    async def resume_loop(self) -> LoopSwitch:
        """Resume dispatching in all namespaces but those that are paused by themselves."""
        return read(LoopSwitch, await self._transport.post(f"{_ADMIN}/loop/resume", repeatable=True))

    async def record_command(self, row: CommandRequest) -> None:
        """Put a row on the audit log about what a command does beside the server."""
        await self._transport.post(_COMMANDS, row)
