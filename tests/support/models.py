"""An endpoint on this machine that answers as the well-known model services do, with what it was asked."""

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from tests.support.ports import LOOPBACK


@dataclass(slots=True)
class ModelService:
    """Its address, and the paths, credentials and bodies that came."""

    url: str
    requests: list[tuple[str, str, dict[str, Any]]] = field(default_factory=list)


@contextmanager
def running_models() -> Iterator[ModelService]:
    """The service while the block runs. It answers with the last message, turned around."""
    service = ModelService("")

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            credential = self.headers.get("x-api-key") or self.headers.get("Authorization", "")
            service.requests.append((self.path, credential, body))
            text = body["messages"][-1]["content"][::-1]
            reply = (
                {"content": [{"type": "text", "text": text}]}
                if self.path.endswith("/messages")
                else {"choices": [{"message": {"role": "assistant", "content": text}}]}
            )
            content = json.dumps(reply).encode()
            self.send_response(200)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, format: str, *args: Any) -> None:
            """Say nothing."""

    with ThreadingHTTPServer((LOOPBACK, 0), Handler) as server:
        service.url = f"http://{LOOPBACK}:{server.server_port}"
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        try:
            yield service
        finally:
            server.shutdown()
            thread.join()
