"""The span of each request, as OpenTelemetry describes those of HTTP servers."""

from __future__ import annotations

from typing import Any

from opentelemetry.trace import NonRecordingSpan, Span, SpanKind, Status, StatusCode, Tracer, set_span_in_context
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app.domain.doors import DOOR, MEASURED
from app.domain.traces import TRACE_KEY, TRACEPARENT, TRACESTATE, Trace, trace_of
from app.telemetry.tracing import names
from app.telemetry.tracing.spans import context_of, text_of


class TracedRequests:
    """Wraps the application: each request gets a span, whose context is what the application finds as the caller's.

    WebSockets have none: a connection lasts for days, and its frames are no requests.
    """

    def __init__(self, application: ASGIApp, tracer: Tracer) -> None:
        self._application = application
        self._tracer = tracer

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one ASGI connection."""
        if scope["type"] != "http":
            await self._application(scope, receive, send)
            return
        given = trace_of(scope["headers"])
        span = self._tracer.start_span(
            scope["method"],
            None if given is None else set_span_in_context(NonRecordingSpan(context_of(given.text))),
            kind=SpanKind.SERVER,
            attributes={names.METHOD: scope["method"], names.SCHEME: scope["scheme"], names.PATH: scope["path"]},
        )
        trace = Trace(text_of(span.get_span_context()), begun=given is None)
        status = 0

        async def observed(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        headers = [(name, value) for name, value in scope["headers"] if name not in (TRACEPARENT, TRACESTATE)]
        inner = {**scope, "headers": headers, TRACE_KEY: trace}
        try:
            await self._application(inner, receive, observed)
        finally:
            if span.is_recording():
                _describe(span, inner, status)
            span.end()


def _describe(span: Span, scope: Scope, status: int) -> None:
    """Add what is known of a request once it has been answered; 0 is the status of one that was not."""
    # The door that is measured by itself has a route of Starlette's, which the scope does not name.
    route = scope["path"] if MEASURED in scope else getattr(scope.get("route"), "path", None)
    if route is not None:
        span.update_name(f"{scope['method']} {route}")
        span.set_attribute(names.ROUTE, route)
    if status:
        span.set_attribute(names.STATUS, status)
    if not status or status >= 500:
        span.set_attribute(names.ERROR, str(status or "disconnected"))
        span.set_status(Status(StatusCode.ERROR))
    span.set_attribute(names.DOOR, DOOR.get().value)
    parameters: dict[str, Any] = scope.get("path_params") or {}
    for name, attribute in (("task_id", names.TASK), ("key", names.QUESTION_KEY)):
        if name in parameters and (name != "key" or "/questions/" in scope["path"]):
            span.set_attribute(attribute, str(parameters[name]))
    if MEASURED in scope:
        span.set_attribute(names.MCP_METHOD, scope[MEASURED].method)
