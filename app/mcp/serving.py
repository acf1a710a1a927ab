"""The MCP server over the official SDK: without sessions, each request on its own."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar, cast

from mcp import types
from mcp.server.context import CallNext, HandlerResult
from mcp.server.extension import Extension, compose_tool_call_handler
from mcp.server.lowlevel import Server
from mcp.server.request_state import RequestStateBoundary
from mcp.server.streamable_http_manager import StreamableHTTPSessionManager
from mcp.shared.exceptions import MCPError
from mcp.types.methods import SPEC_CLIENT_METHODS, SPEC_CLIENT_NOTIFICATION_METHODS
from mcp.types.version import HANDSHAKE_PROTOCOL_VERSIONS
from pydantic import ValidationError
from starlette.requests import ClientDisconnect
from starlette.types import Receive, Scope, Send

import app
from app.domain import traces
from app.domain.access import Role
from app.domain.doors import MEASURED
from app.domain.skills import Skill
from app.http.context import ServerContext
from app.http.metrics import LEFT
from app.http.settings import MIB
from app.mcp import skills
from app.mcp.asking import AskingAgain, AskingMeanwhile, Waiters
from app.mcp.calls import Api, Asking, CallFailed, InputNeeded, Value
from app.mcp.handshakes import Handshakes
from app.mcp.listening import Listening
from app.mcp.prompts import get_prompt, list_prompts
from app.mcp.requests import FOLLOWS, RequestContext, api_of, client_of, measured_of, scope_of
from app.mcp.resources import LIST_TTL_MS, list_resources, list_templates, read_resource
from app.mcp.results import failure_of, result_of
from app.mcp.seals import Seals
from app.mcp.streams import STREAM, ReplyStream
from app.mcp.tasks_extension import TasksExtension, offers
from app.mcp.tools.catalog import tools_for
from app.mcp.tools.tool import Tool

P = TypeVar("P")
R = TypeVar("R")

# It reports the beginning and the end of each request.
logging.getLogger("mcp").setLevel(logging.WARNING)

_METHODS = SPEC_CLIENT_METHODS | SPEC_CLIENT_NOTIFICATION_METHODS | {"tasks/get", "tasks/update", "tasks/cancel"}
"""Methods that metrics name; a client's own words make no series."""
_LISTEN = "subscriptions/listen"
"""The method whose reply goes on until its client leaves."""
_TOOL_USE = "claudecode/toolUseId"
_ONCE = "io.swarmhold/once"
_INSTRUCTIONS = (
    "swarmhold keeps questions to people and tasks of agents for as long as they take. "
    "What is open stays open: read it again later instead of asking again."
)


class McpServer:
    """Serves MCP requests of one application."""

    def __init__(self, context: ServerContext) -> None:
        self._context = context
        self._settings = context.settings.doors
        self._unheld = asyncio.Semaphore(self._settings.mcp.concurrency)
        self._server: Server[Any] = Server(
            "swarmhold",
            version=app.__version__,
            instructions=_INSTRUCTIONS,
            on_list_tools=self._list,
            on_list_resources=self._limited(list_resources),
            on_list_resource_templates=self._limited(list_templates),
            on_read_resource=self._limited(read_resource),
            on_list_prompts=self._limited(list_prompts),
            on_get_prompt=self._limited(get_prompt),
        )
        self._seals = Seals(context.engine.parts.mint, context.engine.parts.clock)
        self._waiters = Waiters(context.engine.parts.bus)
        self._handshakes = Handshakes(self._seals, self._waiters)
        self._server.middleware.insert(0, _measured)
        self._server.middleware.append(RequestStateBoundary(self._seals.of_calls, default_audience=self._server.name))
        self._extend(tasks := TasksExtension())
        self._server.add_request_handler(_LISTEN, types.SubscriptionsListenRequestParams, Listening(tasks))

    def _extend(self, extension: Extension) -> None:
        """Serve an extension: its methods, and its part in calls of tools."""
        self._server.extensions[extension.identifier] = extension.settings()
        for binding in extension.methods():
            self._server.add_request_handler(binding.method, binding.params_type, self._limited(binding.handler))
        call = compose_tool_call_handler([extension], self._call)
        self._server.add_request_handler("tools/call", types.CallToolRequestParams, call)

    async def serve(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request. Raises ClientDisconnect when its client left before a reply began."""
        comment_every_s = self._context.settings.sse_comment_every.total_seconds()
        stream = scope[STREAM] = ReplyStream(scope, receive, send, comment_every_s=comment_every_s)
        prepared = await self._handshakes.prepared(scope, stream.receive, stream.send)
        if prepared is None:
            return
        manager = StreamableHTTPSessionManager(
            self._server, json_response=True, stateless=True, max_request_body_size=MIB
        )
        async with stream.kept(), manager.run():
            await manager.handle_request(scope, *prepared)
        if stream.client_left and scope[MEASURED].method != _LISTEN:
            scope[MEASURED].code = LEFT
            if not stream.has_begun:
                raise ClientDisconnect

    def _limited(
        self, handle: Callable[[RequestContext, P], Awaitable[R]]
    ) -> Callable[[RequestContext, P], Awaitable[R]]:
        """Return a handler that is one of a limited number at a time."""

        async def handled(context: RequestContext, params: P) -> R:
            async with self._unheld:
                return await handle(context, params)

        return handled

    async def _list(
        self, context: RequestContext, params: types.PaginatedRequestParams | None
    ) -> types.ListToolsResult:
        del params
        client = client_of(context)
        tools = [_described(tool) for tool, _ in tools_for(client)]
        tools += await skills.offered_to(context, client)
        return types.ListToolsResult(tools=tools, ttl_ms=LIST_TTL_MS, cache_scope="private")

    async def _call(
        self, context: RequestContext, params: types.CallToolRequestParams
    ) -> types.CallToolResult | types.InputRequiredResult:
        client = client_of(context)
        arguments = dict(params.arguments or {})
        traces.take(cast("dict[str, Any]", context.meta or {}))
        try:
            offered = {tool.name: (tool, role) for tool, role in tools_for(client)}
            if params.name in offered:
                result = await self._tool(context, params, *offered[params.name], arguments)
            elif found := await skills.named(context, client, params.name):
                result = await self._skill(context, *found, arguments)
            else:
                raise MCPError(code=types.INVALID_PARAMS, message="There is no such tool for this credential.")
        except CallFailed as failed:
            measured_of(context).code = str(failed.problem.get("code"))
            return failure_of(failed.problem)
        except ClientDisconnect:
            return failure_of({"title": "The client has left"})  # for nobody: nothing is sent any more
        except InputNeeded as needed:
            measured_of(context).code = "input-required"
            return needed.result
        return result

    async def _tool(
        self,
        context: RequestContext,
        params: types.CallToolRequestParams,
        tool: Tool,
        role: Role,
        arguments: Value,
    ) -> types.CallToolResult:
        tool.check(arguments)
        about = tool.about_in(client_of(context), role, arguments)
        once, asking = _once(context, arguments.pop("once", None)), self._asking(context, params)
        api = await api_of(context, role, tool.name, once, about=about, asking=asking)
        hold = self._hold(context, follows=tool.follows)
        if tool.holds and not tool.asks:
            arguments.setdefault("hold", hold)
        return result_of(await self._run(tool, api, arguments), text_alone=tool.gives is None)

    async def _skill(self, context: RequestContext, skill: Skill, role: Role, arguments: Value) -> types.CallToolResult:
        api = await api_of(context, role, skill.name, _once(context, None))
        return await skills.call(context, api, skill, arguments, hold=self._hold(context, follows=skill.task))

    def _hold(self, context: RequestContext, *, follows: bool) -> float:
        """Return how long a call waits that does not say: who follows it as a task needs no call that waits."""
        scope_of(context)[FOLLOWS] = follows
        return 0 if follows and offers(context) else self._settings.hold.total_seconds()

    def _asking(self, context: RequestContext, params: types.CallToolRequestParams) -> Asking:
        if context.protocol_version in HANDSHAKE_PROTOCOL_VERSIONS:
            return AskingMeanwhile(context, self._seals, self._waiters)
        return AskingAgain(context, params)

    async def _run(self, tool: Tool, api: Api, arguments: Value) -> Value:
        if tool.holds:
            return await tool.run(api, arguments)
        async with self._unheld:
            return await tool.run(api, arguments)


def _once(context: RequestContext, given: Any) -> str | None:
    """Return the name of a request: what was given as such, else what its client says of it."""
    meta = cast("dict[str, Any]", context.meta or {})
    once = given or meta.get(_ONCE) or meta.get(_TOOL_USE)
    return None if once is None else str(once)


async def _measured(ctx: RequestContext, call_next: CallNext) -> HandlerResult:
    """Say which method metrics count, and the code of the error with which it ends."""
    measured = measured_of(ctx)
    measured.method = ctx.method if ctx.method in _METHODS else "other"
    try:
        return await call_next(ctx)
    except MCPError as error:
        measured.code = str(error.code)
        raise
    except ValidationError:
        measured.code = str(types.INVALID_PARAMS)
        raise
    except Exception:
        measured.code = str(types.INTERNAL_ERROR)
        raise


def _described(tool: Tool) -> types.Tool:
    reads = "read_only" in tool.hints
    return types.Tool(
        name=tool.name,
        description=tool.text,
        input_schema=tool.schema,
        output_schema=tool.gives,
        annotations=types.ToolAnnotations(
            read_only_hint=reads,
            destructive_hint="destructive" in tool.hints,
            idempotent_hint=reads or "idempotent" in tool.hints,
            open_world_hint="open_world" in tool.hints,
        ),
    )
