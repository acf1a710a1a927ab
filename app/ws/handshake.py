"""The WebSocket handshake: origin, credential, subprotocol."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from urllib.parse import urlsplit

from starlette.types import Scope

from app.domain.access import Caller, Role, Verb
from app.domain.clock import Instant
from app.domain.errors import RoleViolation, Unauthenticated
from app.domain.tokens import Bearer, CapToken
from app.http import auth
from app.http.bodies import header
from app.http.context import ServerContext
from swarmhold.models.frames import BEARER_SUBPROTOCOL, SUBPROTOCOL


@dataclass(frozen=True, slots=True)
class SocketClient:
    """The authenticated client of a connection: its caller, its token, and when that expires."""

    caller: Caller
    token: CapToken
    expires_at: Instant


def origin_allowed(scope: Scope, allowed: Sequence[str]) -> bool:
    """Return whether the request's origin may open a WebSocket: the server's own, an allowed one, or none at all."""
    origin = header(scope, b"origin")
    if origin is None:
        return True
    if origin in allowed:
        return True
    host = header(scope, b"host")
    try:
        return host is not None and urlsplit(origin).netloc.lower() == host.lower()
    except ValueError:  # no browser sends such an origin
        return False


def subprotocol_of(scope: Scope) -> str | None:
    """Return the subprotocol to accept; never the one that carries a credential."""
    return SUBPROTOCOL if SUBPROTOCOL in scope["subprotocols"] else None


def credential_text_of(scope: Scope) -> str:
    """Return the credential's text, from the header or a subprotocol. Raises Unauthenticated."""
    if header(scope, b"authorization") is not None:
        return auth.credential_text(scope)
    offered = [text for text in scope["subprotocols"] if text.startswith(BEARER_SUBPROTOCOL)]
    if len(offered) != 1:
        raise Unauthenticated("two credentials" if offered else "missing")
    return str(offered[0].removeprefix(BEARER_SUBPROTOCOL))


async def authenticate(context: ServerContext, text: str, verb: Verb, roles: frozenset[Role]) -> SocketClient:
    """Return the client that a credential authenticates.

    Raises RoleViolation, and the errors of an invalid credential.
    """
    bearer: Bearer = auth.bearer_of(text)
    caller = await context.engine.credentials.authorize(bearer, verb)
    if caller.role not in roles:
        raise RoleViolation(caller.role.value, "open this socket")
    # Handles belong to workers, which have no WebSocket.
    token = CapToken(bearer.text)
    return SocketClient(caller, token, caller.expires_at or context.engine.signer.verify(token).expires_at)
