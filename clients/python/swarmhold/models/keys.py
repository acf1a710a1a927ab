"""API keys, as the holder of the root key sees them."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from swarmhold.models.enums import Role
from swarmhold.models.instants import Instant, Seconds
from swarmhold.models.names import Name
from swarmhold.models.shapes import Request, Shape

__all__ = ["ApiKey", "CreatedKey", "KeyRequest"]


class KeyRequest(Request):
    """A key that may attach as `roles`; without `ttl` (seconds) it lives until revoked."""

    name: Name
    roles: Annotated[tuple[Role, ...], Field(min_length=1, max_length=4)]
    ttl: Seconds | None = None


class CreatedKey(Shape):
    """The one answer that shows the key itself."""

    id: str
    key: str = Field(repr=False)


class ApiKey(Shape):
    """A key by its id; the secret is kept nowhere."""

    id: str
    name: str
    roles: list[str]
    root: bool | None = None
    created_at: Instant
    expires_at: Instant | None = None
    revoked_at: Instant | None = None
