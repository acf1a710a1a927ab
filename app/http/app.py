"""The ASGI application: one FastAPI app, with the busiest routes reached by a table instead of a search.

Around every request: its id, its limit, its metrics, and the certainty that whatever goes wrong is a problem document.
"""

from __future__ import annotations

import itertools
import re
import secrets
import time
from collections.abc import Callable, Coroutine, Sequence
from contextvars import ContextVar
from datetime import timedelta
from typing import Any

import structlog
from fastapi import FastAPI
from fastapi.exceptions import RequestValidationError
from prometheus_client import CollectorRegistry
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import BaseRoute, WebSocketRoute
from starlette.types import Message, Receive, Scope, Send
from starlette.websockets import WebSocket

import app
from app.domain.doors import DOOR, Door
from app.domain.errors import EngineError, InvalidRequest
from app.domain.traces import TRACE, TRACE_KEY, TRACEPARENT, trace_of
from app.engine.engine import Engine
from app.http import bodies, openapi
from app.http.auth_rate_limit import AuthFailures, AuthRateLimit
from app.http.connected import Connected
from app.http.context import SCOPE_KEY, ServerContext
from app.http.error_responses import ErrorResponses
from app.http.errors import HttpError, PlaceholderInPath, RouteNotFound
from app.http.holds import PARKED, Holds
from app.http.hosts import HostCheck
from app.http.key_sessions import KeySessions
from app.http.metrics import Metrics
from app.http.problems import refuse
from app.http.queries import KnownParameters
from app.http.receiving import Receiving
from app.http.replies import Reply, nothing, send_body
from app.http.routers import all_routes, senior
from app.http.routes import PlainRoute, methods_of
from app.http.settings import HttpSettings

Endpoint = Callable[[Request], Coroutine[Any, Any, Response]]

_log = structlog.get_logger(__name__)

_REQUEST_ID = b"x-request-id"
_BOUND_REQUEST_ID: ContextVar[str] = ContextVar(f"{structlog.contextvars.STRUCTLOG_KEY_PREFIX}request_id")
"""What `bind_contextvars` of structlog would set, at a tenth of the cost."""
_LONGEST_REQUEST_ID = 128
_PLACEHOLDER = re.compile(r"/\{([a-z_]+)\}(?=/|$)")
_NO_PARAMETERS = KnownParameters(())
LEFT = 499
"""The status under which metrics count a request whose client disconnected."""


class Application:
    """The ASGI application served by uvicorn. Call `drain` when the server starts to shut down."""

    def __init__(self, context: ServerContext, *, more: Sequence[BaseRoute] = ()) -> None:
        self.context = context
        self._error_responses = ErrorResponses(context)
        self.receiving = Receiving(context.settings.limits)
        self._inner = self._fastapi(more)
        self._shortcuts = {
            (method, route.path): route
            for route in self._inner.router.routes
            if isinstance(route, PlainRoute)
            for method in methods_of(route)
        }
        self._hosts = HostCheck(context.settings.allowed_hosts)
        self._id_prefix = secrets.token_hex(6)
        self._ids = itertools.count(1)

    def _fastapi(self, more: Sequence[BaseRoute]) -> FastAPI:
        inner = FastAPI(
            title="swarmhold",
            version=app.__version__,
            openapi_url=None,
            docs_url=None,
            redoc_url=None,
            redirect_slashes=False,
        )
        inner.router.routes.extend(all_routes())
        inner.router.routes.extend(more)
        inner.router.routes.append(WebSocketRoute("/{path:path}", _no_such_socket))
        for kind in (EngineError, HttpError, RequestValidationError, HTTPException, Exception):
            inner.add_exception_handler(kind, self._error_responses.handle)
        inner.add_exception_handler(ClientDisconnect, _left)
        return inner

    def drain(self) -> None:
        """End every long poll with its current result, and every stream and WebSocket. Idempotent."""
        self.context.holds.drain()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one ASGI connection."""
        scope[SCOPE_KEY] = self.context
        if scope["type"] != "http":
            DOOR.set(Door.WS)
            await self._open_socket(scope, receive, send)
            return
        DOOR.set(Door.REST)
        request_id = self._read_headers(scope)
        _BOUND_REQUEST_ID.set(request_id.decode())
        started = time.perf_counter()
        exchange = _Exchange(send, request_id)
        body = self.receiving.body(scope, receive)
        authenticated = self._error_responses.authenticate_before_body(scope, body)
        try:
            self._check(scope)
            found = self._shortcut(scope)
            if found is None:
                if scope["method"] == "HEAD":
                    # Routes know GET alone; the server that has the connection leaves the body out.
                    scope = {**scope, "method": "GET"}
                limit = bodies.size_limit(scope, self.context.settings.limits)
                await self._inner(scope, bodies.limited(scope, authenticated, limit), exchange.send)
            else:
                if query := scope["query_string"]:
                    scope["query_string"] = found.query.accept(query)
                await self._answer(found.endpoint, scope, authenticated, exchange)
        except ClientDisconnect:
            exchange.status = exchange.status or LEFT
        except Exception as error:  # noqa: BLE001 - the one place where a server error becomes a reply and a log entry
            # FastAPI raises the exception again after replying by the handler above.
            if exchange.status != 500:
                scope.setdefault("app", self._inner)
                problem = await self._error_responses.problem(error, scope)
                if not exchange.status:
                    await problem.reply()(scope, receive, exchange.send)
        finally:
            body.close()
        self._observe(scope, exchange.status, time.perf_counter() - started)

    async def _open_socket(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Refuse a WebSocket handshake that is invalid for every route, or pass it to its route."""
        try:
            self._check(scope)
            if query := scope["query_string"]:
                _NO_PARAMETERS.accept(query)
        except (HttpError, InvalidRequest) as error:
            await refuse(WebSocket(scope, receive, send), error)
        else:
            await self._inner(scope, receive, send)

    def _check(self, scope: Scope) -> None:
        """Raise the error of a request that is invalid for any sender: its Host header, a placeholder in its path."""
        self._hosts.check(scope)
        if "{" in scope["path"] and (found := _PLACEHOLDER.search(scope["path"])) is not None:
            raise PlaceholderInPath(found[1])

    async def _answer(self, endpoint: Endpoint, scope: Scope, receive: Receive, exchange: _Exchange) -> None:
        reply = await endpoint(Request(scope, receive))
        if type(reply) is Reply:
            headers = [*reply.raw_headers, (_REQUEST_ID, exchange.request_id)]
            exchange.status = reply.status_code
            await exchange.raw({"type": "http.response.start", "status": reply.status_code, "headers": headers})
            await send_body(exchange.raw, reply.body)
        else:
            await reply(scope, receive, exchange.send)

    def _shortcut(self, scope: Scope) -> PlainRoute | None:
        """Return the plain route of this method and path, whose only parameter may be the id of a task or question."""
        method, path = scope["method"], scope["path"]
        found = self._shortcuts.get((method, path))
        if found is None:
            before, name = ("/questions/", "key") if path.startswith(senior.PREFIX) else ("/tasks/", "task_id")
            head, place, rest = path.partition(before)
            value, slash, tail = rest.partition("/")
            if not value:
                return None
            found = self._shortcuts.get((method, f"{head}{place}{{{name}}}{slash}{tail}"))
            if found is None:
                return None
            scope["path_params"] = {name: value}
        scope["route"] = found
        return found

    def _read_headers(self, scope: Scope) -> bytes:
        """Take the caller's trace context, and return its id for this request if that is valid, else a new one."""
        # A request that follows another one on its connection may begin in the context of that one.
        if (given := scope.get(TRACE_KEY)) is not TRACE.get():
            TRACE.set(given)
        request_id = None
        for name, value in scope["headers"]:
            if name == _REQUEST_ID:
                request_id = request_id or value
            elif name == TRACEPARENT:
                TRACE.set(trace_of(scope["headers"]))
        if request_id and len(request_id) <= _LONGEST_REQUEST_ID and _is_printable(request_id):
            return bytes(request_id)
        return f"{self._id_prefix}{next(self._ids):08x}".encode()

    def _observe(self, scope: Scope, status: int, seconds: float) -> None:
        path = getattr(scope.get("route"), "path", "other")
        self.context.metrics.request(scope["method"], path, status, seconds, parked=scope.get(PARKED))
        if self.context.settings.access_log:
            _log.info("request", method=scope["method"], path=scope["path"], status=status, seconds=round(seconds, 6))


def _is_printable(text: bytes) -> bool:
    return text.isascii() and text.decode().isprintable()


async def _no_such_socket(socket: WebSocket) -> None:
    """Refuse a WebSocket at an unknown path."""
    await refuse(socket, RouteNotFound())


async def _left(request: Request, error: Exception) -> Response:
    """Return the reply to a disconnected client, which nobody reads and no metric counts as a failure."""
    del request, error
    return nothing(LEFT)


class _Exchange:
    """Wraps `send` of one request: records the status and adds the request's id."""

    __slots__ = ("raw", "request_id", "status")

    def __init__(self, send: Send, request_id: bytes) -> None:
        self.raw = send
        self.request_id = request_id
        self.status = 0

    async def send(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.status = message["status"]
            message["headers"] = [*message.get("headers", ()), (_REQUEST_ID, self.request_id)]
        await self.raw(message)


def create_app(
    engine: Engine,
    settings: HttpSettings | None = None,
    *,
    more: Sequence[BaseRoute] = (),
    registry: CollectorRegistry | None = None,
) -> Application:
    """Return the application over a started engine. `more` are further routes, such as the console's pages.

    The engine is started and stopped by the caller. `registry` may hold metrics of other parts.
    """
    settings = settings or HttpSettings()
    holds, metrics = Holds(settings.limits), Metrics(registry)
    metrics.gauge("swarmhold_http_parked", "Requests that wait now.", lambda: holds.parked)
    _measure(engine, metrics)
    context = ServerContext(
        engine=engine,
        settings=settings,
        holds=holds,
        auth_failures=AuthFailures(engine, AuthRateLimit(settings.auth_rate_limit)),
        metrics=metrics,
        document=lambda: openapi.document(settings),
        key_sessions=KeySessions(engine.sessions, longest=timedelta(milliseconds=settings.limits.session_life_ms)),
        connected=Connected(engine.sessions),
    )
    return Application(context, more=more)


def _measure(engine: Engine, metrics: Metrics) -> None:
    """Add what the engine of this process counts and measures."""
    metrics.counter(
        "swarmhold_outputs_dropped",
        "Outputs of child processes and functions that were dropped at the limits of their attempts.",
        lambda: engine.dispatcher.outputs_dropped,
    )
    metrics.gauge(
        "swarmhold_event_loop_lag_seconds", "By how much the latest tick was late.", lambda: engine.gaps.lag_s
    )
    metrics.gauge(
        "swarmhold_database_check_seconds", "What the latest check of the database took.", lambda: engine.gaps.check_s
    )
    metrics.counters(
        "swarmhold_takeovers",
        "Attempts taken over from nodes that died: joined again, or lost with their workers.",
        "result",
        lambda: engine.recovery.takeovers,
    )
    metrics.counters(
        "swarmhold_fenced_writes",
        "Changes refused because another node had taken the attempt over, or this one was declared dead.",
        "cause",
        lambda: {"attempt": engine.dispatcher.fenced_writes, "node": engine.store.counts.fenced_writes},
    )
    metrics.counter("swarmhold_node_fenced", "How often this node joined anew.", lambda: engine.nodes.times_fenced)
    metrics.counters(
        "swarmhold_database_pool_waits",
        "Operations that found every connection to the database busy.",
        "pool",
        lambda: {pool: waits.count for pool, waits in engine.store.counts.pool_waits.items()},
    )
    metrics.counters(
        "swarmhold_database_pool_wait_seconds",
        "For how long they waited for one, together.",
        "pool",
        lambda: {pool: waits.seconds for pool, waits in engine.store.counts.pool_waits.items()},
    )
