"""The route of the MCP door. The SDK is imported with the first request."""

from __future__ import annotations

from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from starlette.routing import BaseRoute, Route
from starlette.types import Message, Receive, Scope, Send

from app.domain.doors import DOOR, MEASURED, Door
from app.http import bodies
from app.http.context import SCOPE_KEY, ServerContext
from app.http.door_settings import McpSettings
from app.http.errors import OriginNotAllowed
from app.http.hosts import LOOPBACK
from app.http.metrics import DoorRequest
from app.mcp.clients import CLIENT, client_of

if TYPE_CHECKING:
    from app.mcp.serving import McpServer

PATH = "/mcp"


def mcp_routes(settings: McpSettings) -> list[BaseRoute]:
    """Return the routes to mount next to the API's; none while the door is switched off."""
    return [Route(PATH, _Endpoint(), methods=["POST"], include_in_schema=False)] if settings.enabled else []


class _Endpoint:
    """Checks origin and credential, then lets the SDK serve the request."""

    def __init__(self) -> None:
        self._server: McpServer | None = None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        context: ServerContext = scope[SCOPE_KEY]
        DOOR.set(Door.MCP)
        with context.metrics.door(Door.MCP, "other") as measured:
            scope[MEASURED] = measured
            await self._serve(context, scope, receive, _noting_status(measured, send))

    async def _serve(self, context: ServerContext, scope: Scope, receive: Receive, send: Send) -> None:
        origin = bodies.header(scope, b"origin")
        if origin is not None and not _is_own(origin, context.settings.base_url):
            raise OriginNotAllowed
        scope[CLIENT] = await client_of(context, scope)
        # White space around a value is no part of it (RFC 9110, section 5.5); the HTTP parser leaves it there.
        scope["headers"] = [(name, value.strip(b" \t")) for name, value in scope["headers"]]
        if self._server is None:
            from app.mcp.serving import McpServer

            self._server = McpServer(context)
        await self._server.serve(scope, receive, send)


def _noting_status(measured: DoorRequest, send: Send) -> Send:
    """Return `send` that notes the status of a refusal which has no code of its own."""

    async def sent(message: Message) -> None:
        if message["type"] == "http.response.start" and message["status"] >= 400 and measured.code == "ok":
            measured.code = f"http-{message['status']}"
        await send(message)

    return sent


def _is_own(origin: str, base_url: str) -> bool:
    """Return whether the origin is this server's public one or on this machine."""
    try:
        asked = urlsplit(origin)
        host = f"[{asked.hostname}]" if ":" in (asked.hostname or "") else asked.hostname
    except ValueError:
        return False
    own = urlsplit(base_url)
    return host in LOOPBACK or (asked.scheme, asked.netloc.lower()) == (own.scheme, own.netloc.lower())
