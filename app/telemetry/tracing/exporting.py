"""The pipeline from spans to the receiver."""

from __future__ import annotations

import asyncio
import threading
from urllib.parse import urlsplit

from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from starlette.types import ASGIApp

import app
from app.domain.spans import SpanWriter
from app.telemetry.settings import OtelSettings
from app.telemetry.tracing.requests import TracedRequests
from app.telemetry.tracing.spans import EndedSpans, GivenIds

_TRACES = "/v1/traces"
_EXPORT_S = 5


class Tracing:
    """Writes spans to a receiver of OTLP over HTTP, in batches on a thread of its own.

    The sampler is that of the environment (`OTEL_TRACES_SAMPLER`); by default what the caller decided, else all.
    """

    def __init__(self, settings: OtelSettings) -> None:
        exporter = OTLPSpanExporter(
            endpoint=_traces_url(settings.endpoint or ""), headers=_headers(settings), timeout=_EXPORT_S
        )
        resource = Resource.create({"service.name": settings.service_name, "service.version": app.__version__})
        self._provider = TracerProvider(resource=resource, id_generator=GivenIds(), shutdown_on_exit=False)
        self._provider.add_span_processor(BatchSpanProcessor(exporter))
        self._tracer = self._provider.get_tracer("swarmhold", app.__version__)
        self.write: SpanWriter = EndedSpans(self._tracer, content=settings.content).write

    def around(self, application: ASGIApp) -> ASGIApp:
        """Return the application with a span around each request."""
        return TracedRequests(application, self._tracer)

    async def aclose(self, grace_s: float) -> None:
        """Export what is left, and give up after the grace period, as when the receiver is away."""
        ending = threading.Thread(target=self._provider.shutdown, name="otel-shutdown", daemon=True)
        ending.start()
        await asyncio.to_thread(ending.join, grace_s)


def _traces_url(endpoint: str) -> str:
    return endpoint if urlsplit(endpoint).path.strip("/") else endpoint.rstrip("/") + _TRACES


def _headers(settings: OtelSettings) -> dict[str, str]:
    text = "" if settings.headers is None else settings.headers.get_secret_value()
    pairs = (one.partition("=") for one in text.split(",") if one.strip())
    return {name.strip(): value.strip() for name, _, value in pairs}
