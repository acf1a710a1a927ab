"""Callers of MCP tools."""

from __future__ import annotations

from dataclasses import dataclass, field

from starlette.types import Scope

from app.domain.access import Role
from app.domain.doors import Door
from app.domain.tokens import ApiKey, Handle
from app.http import auth
from app.http.context import ServerContext

CLIENT = "swarmhold.mcp.client"
"""The key of the scope that has who calls."""


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

    @property
    def is_asked(self) -> bool:
        """Whether a question may be put to its person: a person's key, or root's. Of a token the engine decides."""
        return self.key is None or self.key.person or self.key.root

    async def token(self, context: ServerContext, role: Role) -> str:
        """Return the credential for calls in a role: a key's is that of its session of the day."""
        if self.key is None:
            return self.credential
        return (await context.key_sessions.token(Door.MCP, self.key, self.credential, role)).text


async def client_of(context: ServerContext, scope: Scope) -> Client:
    """Return who calls. Raises Unauthenticated and whatever else makes a credential invalid."""
    text = auth.credential_text(scope)
    if not auth.is_key(text):
        bearer = auth.bearer_of(text)
        caller = await context.engine.credentials.whoami(bearer)
        return Client(frozenset({caller.role}), bearer.text if isinstance(bearer, Handle) else text)
    key = await context.engine.keys.find(auth.api_key(scope))
    roles = frozenset(Role(role) for role in key.roles.split()) - {Role.WORKER}
    return Client(roles, text, key)
