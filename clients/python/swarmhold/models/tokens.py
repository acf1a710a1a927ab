"""Tokens: minting, verifying and revoking."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, StringConstraints

from swarmhold.models.enums import Role, Verb
from swarmhold.models.instants import Instant, Seconds
from swarmhold.models.names import Name, TaskId
from swarmhold.models.shapes import Request, Shape, integral

__all__ = ["MintRequest", "MintedToken", "TokenVerdict", "VerifyRequest"]


MintableRole = Literal[Role.WORKER, Role.OBSERVER]


class MintRequest(Request):
    """A token for a worker or an observer; it dies with the token that minted it."""

    agent_id: Name
    role: MintableRole
    ttl: Seconds
    max_uses: Annotated[int, Field(strict=True, ge=1, le=2**31 - 1), integral] | None = None
    scopes: Annotated[tuple[Verb, ...], Field(max_length=64)] | None = None
    task_id: TaskId | None = None


class MintedToken(Shape):
    """The one answer that shows the token; `jti` names it from then on."""

    token: str = Field(repr=False)
    jti: str
    expires_at: Instant


class VerifyRequest(Request):
    """May `token` do `verb` (to `task_id`)? Asking consumes a use, as doing it would."""

    token: Annotated[str, StringConstraints(min_length=1, max_length=16384)] = Field(repr=False)
    verb: Verb
    task_id: TaskId | None = None


class TokenVerdict(Shape):
    """`code` says why a token is not valid; what could not be learned of it is null."""

    valid: bool
    code: str | None = None
    role: Role | None
    sub: str | None
    expires_at: Instant | None
    uses_left: int | None
