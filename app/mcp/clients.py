"""Callers of MCP tools."""

from __future__ import annotations

from dataclasses import dataclass, field

from starlette.types import Scope

from app.domain.access import Role
from app.domain.doors import Door
from app.domain.ids import is_id
from app.domain.tokens import ApiKey, Handle, fingerprint
from app.http import auth
from app.http.context import ServerContext
from app.mcp.calls import CallFailed

CLIENT = "swarmhold.mcp.client"
"""The key of the scope that has who calls."""


@dataclass(frozen=True, slots=True)
class Client:
    """An authenticated caller: a credential bound to one role, or an API key with several.

    `task_id` and `attempt` are those that a worker's handle or token is bound to.
    """

    roles: frozenset[Role]
    credential: str = field(repr=False)
    namespace: int
    key: ApiKey | None = None
    task_id: str | None = None
    attempt: int | None = None

    @property
    def may_answer(self) -> bool:
        """Whether a model may answer with it: a key for agents, never that of a person."""
        return self.key is not None and not self.is_person

    @property
    def is_person(self) -> bool:
        """Whether it is a person's own key, or the root key."""
        return self.key is not None and (self.key.person or self.key.root)

    @property
    def is_asked(self) -> bool:
        """Whether a question may be put to its person: a person's key, or root's. Of a token the engine decides."""
        return self.key is None or self.is_person

    @property
    def principal(self) -> str:
        """A name of who calls by which nobody else is known."""
        return fingerprint(self.credential) if self.key is None else self.key.id

    async def token(self, context: ServerContext, role: Role, about: str | None = None) -> str:
        """Return the credential for calls in a role: a key's is that of its session of the day.

        A worker's key claims with the key itself, and works with the token of what it claimed, which `about` names.
        Raises CallFailed for an assignment that is not the caller's.
        """
        if self.key is None:
            return self.credential
        if role is not Role.WORKER:
            return (await context.key_sessions.token(Door.MCP, self.key, self.credential, role)).text
        if about is None:
            return self.credential
        token = await context.engine.credentials.claimed_token(self.key, about)
        if token is None:
            raise no_assignment(about)
        return token.text

    def is_own(self, about: str) -> bool:
        """Return whether a text names the task or attempt of a worker's credential, or something of another kind."""
        task_id, _, number = about.partition(".")
        if self.task_id is None or not is_id(task_id, "T"):
            return True
        return task_id == self.task_id and (not number or self.attempt is None or number == str(self.attempt))


def no_assignment(about: str) -> CallFailed:
    """Return the failure of a call about an assignment that is not the caller's, or that there never was."""
    return CallFailed(
        {
            "title": "There is no such assignment",
            "status": 404,
            "code": "attempt-not-found",
            "detail": f"This credential has no assignment {about[:100]!r}; claim_assignment gives one to a key.",
        }
    )


async def client_of(context: ServerContext, scope: Scope) -> Client:
    """Return who calls. Raises Unauthenticated and whatever else makes a credential invalid."""
    text = auth.credential_text(scope)
    if not auth.is_key(text):
        bearer = auth.bearer_of(text)
        caller = await context.engine.credentials.whoami(bearer)
        own = bearer.text if isinstance(bearer, Handle) else text
        return Client(frozenset({caller.role}), own, caller.namespace, task_id=caller.task_id, attempt=caller.attempt)
    key = await context.engine.keys.find(auth.api_key(scope))
    return Client(key.role_set, text, key.namespace, key)
