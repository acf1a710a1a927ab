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

    `key` is the API key that is the credential, `origin` the one that any credential descends from; `in_session` says
    that a token is that of a session and of nothing below it. `task_id` and `attempt` are those that a worker's handle
    or token is bound to.
    """

    roles: frozenset[Role]
    credential: str = field(repr=False)
    namespace: int
    key: ApiKey | None = None
    origin: ApiKey | None = None
    in_session: bool = False
    task_id: str | None = None
    attempt: int | None = None

    @property
    def may_answer(self) -> bool:
        """Whether a model may answer with it: with what an agent's key gives, never with what a person's does."""
        return self.origin is not None and not (self.origin.person or self.origin.root)

    @property
    def is_person(self) -> bool:
        """Whether a question may be put to its person: with a person's key or root's, and in a session of one."""
        own = self.key is not None or self.in_session
        return own and self.origin is not None and (self.origin.person or self.origin.root)

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
        caller, origin = await context.engine.credentials.whose(bearer)
        return Client(
            roles=frozenset({caller.role}),
            credential=bearer.text if isinstance(bearer, Handle) else text,
            namespace=caller.namespace,
            origin=origin,
            in_session=caller.session_id is not None and caller.attempt is None,
            task_id=caller.task_id,
            attempt=caller.attempt,
        )
    key = await context.engine.keys.find(auth.api_key(scope))
    return Client(key.role_set, text, key.namespace, key, key)
