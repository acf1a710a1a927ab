"""A receiver of OTLP over HTTP on loopback, which decodes what it is sent with the exporter's own protocol package."""

import gzip
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from tests.support.ports import LOOPBACK


@dataclass(frozen=True, slots=True)
class Exported:
    """One span as it arrived; ids are hexadecimal."""

    name: str
    trace_id: str
    span_id: str
    parent: str
    kind: int
    start_ns: int
    end_ns: int
    failed: bool
    links: list[str]
    attributes: dict[str, Any]
    resource: dict[str, Any]


@dataclass(slots=True)
class OtlpReceiver:
    """Keeps every span, and the path and headers of each request."""

    port: int = 0
    spans: list[Exported] = field(default_factory=list[Exported])
    requests: list[tuple[str, dict[str, str]]] = field(default_factory=list[tuple[str, dict[str, str]]])

    @property
    def url(self) -> str:
        """Its root."""
        return f"http://{LOOPBACK}:{self.port}"

    def take(self, path: str, headers: dict[str, str], body: bytes) -> None:
        """Decode one request."""
        self.requests.append((path, headers))
        raw = gzip.decompress(body) if headers.get("content-encoding") == "gzip" else body
        for group in ExportTraceServiceRequest.FromString(raw).resource_spans:
            resource = _values(group.resource.attributes)
            for scope in group.scope_spans:
                self.spans += [_exported(span, resource) for span in scope.spans]

    def named(self, name: str) -> list[Exported]:
        """The spans of this name, in the order of their starts."""
        return sorted((span for span in self.spans if span.name == name), key=lambda span: span.start_ns)


def _values(attributes: Any) -> dict[str, Any]:
    return {one.key: getattr(one.value, one.value.WhichOneof("value")) for one in attributes}


def _exported(span: Any, resource: dict[str, Any]) -> Exported:
    return Exported(
        name=span.name,
        trace_id=span.trace_id.hex(),
        span_id=span.span_id.hex(),
        parent=span.parent_span_id.hex(),
        kind=span.kind,
        start_ns=span.start_time_unix_nano,
        end_ns=span.end_time_unix_nano,
        failed=span.status.code == 2,
        links=[link.span_id.hex() for link in span.links],
        attributes=_values(span.attributes),
        resource=resource,
    )


@contextmanager
def otlp_receiver() -> Iterator[OtlpReceiver]:
    """A running receiver."""
    receiver = OtlpReceiver()

    class Handler(BaseHTTPRequestHandler):
        """Takes one batch of spans."""

        def do_POST(self) -> None:
            """Keep it, and say so."""
            body = self.rfile.read(int(self.headers["content-length"]))
            receiver.take(self.path, {name.lower(): value for name, value in self.headers.items()}, body)
            self.send_response(200)
            self.send_header("Content-Type", "application/x-protobuf")
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, format: str, *args: Any) -> None:
            """Say nothing."""

    server = ThreadingHTTPServer((LOOPBACK, 0), Handler)
    receiver.port = server.server_address[1]
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield receiver
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
