"""The WebSocket routes, and the open connections: at most one per namespace and id."""

from __future__ import annotations

from collections.abc import Sequence

import structlog
from starlette.routing import BaseRoute, WebSocketRoute
from starlette.types import Scope
from starlette.websockets import WebSocket

from app.domain.access import Role, Verb
from app.domain.errors import (
    AuthRateLimited,
    EngineError,
    InvalidName,
    QuotaExceeded,
    RoleViolation,
    SessionNotFound,
    Unauthenticated,
)
from app.domain.names import check_name
from app.http.context import SCOPE_KEY, ServerContext
from app.http.errors import HttpError, OriginNotAllowed
from app.http.problems import FAILED_CREDENTIAL, refuse
from app.ws.backend import BackendConnection
from app.ws.connection import FORBIDDEN, REFUSED, REPLACED, Connection, Ending, ending_of
from app.ws.handshake import SocketClient, authenticate, credential_text_of, origin_allowed, subprotocol_of
from app.ws.protocol import Protocol
from swarmhold.models.frames import CloseCode, backend_client_frames, senior_client_frames

_log = structlog.get_logger(__name__)

SENIOR_PATH = "/v1/senior/bridges/{bridge_id:path}/ws"
BACKEND_PATH = "/v1/operator/backends/{id:path}/ws"

_SENIORS = frozenset({Role.SENIOR, Role.OPERATOR})
_OPERATORS = frozenset({Role.OPERATOR})


class Sockets:
    """The open connections of one server, at most one per namespace and id."""

    def __init__(self) -> None:
        self._open: dict[tuple[int, str], Connection] = {}

    @property
    def count(self) -> int:
        """How many connections are open."""
        return len(self._open)

    def routes(self) -> Sequence[BaseRoute]:
        """Return the routes to add to the application."""
        return (WebSocketRoute(SENIOR_PATH, self._senior), WebSocketRoute(BACKEND_PATH, self._backend))

    async def _senior(self, socket: WebSocket) -> None:
        """Serve a senior console, registered under its id while it is connected."""
        id: str = socket.path_params["bridge_id"]
        client = await self._admit(socket, id, Verb.ANSWER_QUERY, _SENIORS)
        if client is None:
            return
        context: ServerContext = socket.scope[SCOPE_KEY]
        if client.caller.role is Role.OPERATOR and id not in await _backend_ids_of(context, client):
            await _close(socket, FORBIDDEN)
            return
        protocol = Protocol(senior_client_frames, limits=context.settings.limits)
        await self._serve(socket, Connection(context, socket, client, id, protocol))

    async def _backend(self, socket: WebSocket) -> None:
        """Serve an operator backend, which is also a spawn hook and senior bridge under its id."""
        id: str = socket.path_params["id"]
        client = await self._admit(socket, id, Verb.DISPATCH_ATTEMPT, _OPERATORS)
        if client is None:
            return
        context: ServerContext = socket.scope[SCOPE_KEY]
        protocol = Protocol(backend_client_frames, limits=context.settings.limits)
        await self._serve(socket, BackendConnection(context, socket, client, id, protocol))

    async def _admit(self, socket: WebSocket, id: str, verb: Verb, roles: frozenset[Role]) -> SocketClient | None:
        """Accept the WebSocket and return its client; close it with a code if the credential is invalid."""
        scope = socket.scope
        context: ServerContext = scope[SCOPE_KEY]
        if (error := _unacceptable(scope, context, id)) is not None:
            await refuse(socket, error)
            return None
        await socket.accept(subprotocol_of(scope))
        text: str | None = None
        try:
            text = credential_text_of(scope)
            return await authenticate(context, text, verb, roles)
        except EngineError as error:
            await _close(socket, await _refusal(context, socket, error, text))
            return None

    async def _serve(self, socket: WebSocket, connection: Connection) -> None:
        try:
            with connection.context.holds.streams.take(connection.client.token.text):
                await connection.context.engine.sessions.hold_id(connection.client.token, connection.id)
                await self._serve_registered(connection)
        except QuotaExceeded as error:
            await _close(socket, Ending(CloseCode.QUOTA_EXCEEDED, str(error)))
        except EngineError as error:
            await _close(socket, ending_of(error))

    async def _serve_registered(self, connection: Connection) -> None:
        key = connection.namespace, connection.id
        older = self._open.get(key)
        self._open[key] = connection
        if older is not None:
            older.end(REPLACED)
        try:
            ending = await connection.serve()
            _log.info("socket_closed", bridge_id=connection.id, code=ending.code)
        finally:
            if self._open.get(key) is connection:
                del self._open[key]


def _unacceptable(scope: Scope, context: ServerContext, id: str) -> HttpError | InvalidName | None:
    """Return why a handshake is refused whatever its credential."""
    if not origin_allowed(scope, context.settings.websockets.allowed_origins):
        return OriginNotAllowed()
    try:
        check_name(id, "id")
    except InvalidName as error:
        return error
    return None


async def _backend_ids_of(context: ServerContext, client: SocketClient) -> frozenset[str]:
    try:
        return (await context.engine.sessions.read_own(client.token)).backend_ids
    except SessionNotFound:
        return frozenset()


async def _refusal(context: ServerContext, socket: WebSocket, error: EngineError, text: str | None) -> Ending:
    if isinstance(error, RoleViolation):
        return FORBIDDEN
    failed = error if error.code in FAILED_CREDENTIAL else Unauthenticated(error.code)
    try:
        await context.auth_failures.record(socket.scope, failed, credential=text)
    except AuthRateLimited:
        _log.info("websocket_auth_rate_limited", source=socket.client)
    return REFUSED


async def _close(socket: WebSocket, ending: Ending) -> None:
    await socket.close(ending.code or 1000, ending.reason)
