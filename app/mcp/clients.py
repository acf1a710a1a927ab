"""Callers of MCP tools, and the session that a key opens for each of its roles."""

from __future__ import annotations

import time
from collections import OrderedDict
from dataclasses import dataclass, field
from datetime import timedelta

from starlette.types import Scope

from app.domain.access import Role
from app.domain.names import LONGEST
from app.domain.sessions import SessionOptions
from app.domain.tokens import ApiKey, CapToken, Handle
from app.engine.ops.idempotency import Idempotency
from app.http import auth
from app.http.context import ServerContext

_DAY_S = 86_400
_LIFE = timedelta(days=2)
_HEARTBEAT_S = 10.0
_MOST_SESSIONS = 10_000

Slot = tuple[str, Role, int]
"""A key's id, one of its roles, and the day."""


@dataclass(slots=True)
class _Open:
    """A session that is open, and when its heartbeat was recorded."""

    token: CapToken
    beat_at: float


@dataclass(frozen=True, slots=True)
class Client:
    """An authenticated caller: a credential bound to one role, or an API key with several."""

    roles: frozenset[Role]
    credential: str = field(repr=False)
    key: ApiKey | None = None

    @property
    def may_answer(self) -> bool:
        """Whether a model may answer with it: a key for agents, never that of a person."""
        return self.key is not None and not self.key.person and not self.key.root


class Clients:
    """Identifies callers and keeps the sessions of their keys."""

    def __init__(self) -> None:
        self._sessions: OrderedDict[Slot, _Open] = OrderedDict()

    async def identify(self, context: ServerContext, scope: Scope) -> Client:
        """Return who calls. Raises Unauthenticated and whatever else makes a credential invalid."""
        text = auth.credential_text(scope)
        if not auth.is_key(text):
            bearer = auth.bearer_of(text)
            caller = await context.engine.credentials.whoami(bearer)
            return Client(frozenset({caller.role}), bearer.text if isinstance(bearer, Handle) else text)
        key = await context.engine.keys.find(auth.api_key(scope))
        roles = frozenset(Role(role) for role in key.roles.split()) - {Role.WORKER}
        return Client(roles, text, key)

    async def token(self, context: ServerContext, client: Client, role: Role) -> str:
        """Return the credential for calls in a role: a key's is that of its session of the day, kept attached by use.

        Servers that share a database find the same session.
        """
        if client.key is None:
            return client.credential
        now = time.time()
        slot = (client.key.id, role, int(now // _DAY_S))
        found = self._sessions.get(slot)
        if found is None:
            attached = await context.engine.sessions.attach_by_key(
                client.credential,
                f"mcp:{client.key.name}"[:LONGEST],
                role,
                min(_LIFE, timedelta(milliseconds=context.settings.limits.session_life_ms)),
                SessionOptions(quiet=True),
                idempotency=Idempotency(f"mcp:{role}:{slot[2]}", "mcp"),
            )
            found = self._sessions[slot] = _Open(attached.token, 0.0)
            if len(self._sessions) > _MOST_SESSIONS:
                self._sessions.popitem(last=False)
        self._sessions.move_to_end(slot)
        if now - found.beat_at > _HEARTBEAT_S:
            await context.engine.sessions.heartbeat(found.token)
            found.beat_at = now
        return found.token.text
