"""Requests of MCP clients: who sends one, what its client can do, and the calls that follow from it."""

from __future__ import annotations

from typing import Any

from mcp import types
from mcp.server.context import ServerRequestContext
from mcp.shared.exceptions import MCPError
from starlette.requests import Request
from starlette.types import Scope

from app.domain.access import Role
from app.domain.doors import MEASURED
from app.domain.tokens import Bearer
from app.http import auth
from app.http.context import SCOPE_KEY, ServerContext
from app.http.metrics import DoorRequest
from app.mcp.calls import Api, Asking, CallFailed
from app.mcp.clients import CLIENT, Client

RequestContext = ServerRequestContext[Any, Request]

FOLLOWS = "swarmhold.mcp.follows"
"""The key of the scope that says whether the tool that is called may become a task."""
CAPABILITIES = "swarmhold.mcp.capabilities"
"""The key of the scope that has the capabilities which a client declared at its handshake."""


def scope_of(context: RequestContext) -> Scope:
    """Return the scope of the HTTP request that carried a message."""
    if context.request is None:
        raise MCPError(code=types.INVALID_REQUEST, message="This server is reached by HTTP alone.")
    return context.request.scope


def client_of(context: RequestContext) -> Client:
    """Return the authenticated caller."""
    client: Client = scope_of(context)[CLIENT]
    return client


def server_of(context: RequestContext) -> ServerContext:
    """Return the objects that all requests of this server share."""
    server: ServerContext = scope_of(context)[SCOPE_KEY]
    return server


def measured_of(context: RequestContext) -> DoorRequest:
    """Return how metrics count the request."""
    measured: DoorRequest = scope_of(context)[MEASURED]
    return measured


def capabilities_of(context: RequestContext) -> types.ClientCapabilities:
    """Return what the client can do: as this request says, else as it said at its handshake."""
    said = context.session.client_capabilities or scope_of(context).get(CAPABILITIES)
    return said or types.ClientCapabilities()


async def api_of(
    context: RequestContext,
    role: Role,
    tool: str,
    once: str | None = None,
    *,
    about: str | None = None,
    asking: Asking | None = None,
) -> Api:
    """Return the API as the caller sees it in a role. `about` names the assignment of a worker's key.

    Raises CallFailed where that is not the caller's.
    """
    credential = await client_of(context).token(server_of(context), role, about)
    return Api(scope=scope_of(context), credential=credential, role=role, tool=tool, once=once, asking=asking)


def bearer_of(api: Api) -> Bearer:
    """Return the credential of calls for the engine."""
    return auth.bearer_of(api.credential)


def error_of(failed: CallFailed) -> MCPError:
    """Return the protocol error for a call that failed: what does not exist for the caller is a bad parameter."""
    status = failed.problem.get("status", 500)
    code = types.INTERNAL_ERROR if status >= 500 or status == 429 else types.INVALID_PARAMS
    message = str(failed.problem.get("detail") or failed.problem.get("title"))
    return MCPError(code=code, message=message, data={"code": failed.problem.get("code")})
