"""Replies: JSON written by orjson, with prepared header fields."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from starlette.background import BackgroundTask
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from app.domain.json import encode

Headers = list[tuple[bytes, bytes]]

_NO_STORE = (b"cache-control", b"no-store")
_NO_SNIFF = (b"x-content-type-options", b"nosniff")
_JSON = (b"content-type", b"application/json")
_EMPTY = [_NO_STORE, _NO_SNIFF]


class Reply(Response):
    """A complete reply, cheaper to create than Starlette's own."""

    def __init__(self, status: int, body: bytes, headers: Headers) -> None:
        # Starlette's own initialiser would encode and count what is ready already.
        self.status_code = status
        self.body = body
        self.raw_headers = headers
        self.background: BackgroundTask | None = None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        # In place of a WebSocket's handshake the messages have a prefix (the ASGI extension websocket.http.response).
        prefix = "websocket." if scope["type"] == "websocket" else ""
        await send({"type": f"{prefix}http.response.start", "status": self.status_code, "headers": self.raw_headers})
        await send({"type": f"{prefix}http.response.body", "body": self.body})


def encoded(body: bytes, *, status: int = 200) -> Reply:
    """Return a reply of serialised JSON."""
    return Reply(status, body, [_JSON, (b"content-length", b"%d" % len(body)), _NO_STORE, _NO_SNIFF])


def json(value: Any, *, status: int = 200, headers: Mapping[str, str] | None = None) -> Reply:
    """Return a JSON reply; fragments of `Json` are embedded without decoding."""
    reply = encoded(encode(value), status=status)
    if headers:
        reply.raw_headers.extend((name.lower().encode(), text.encode("latin-1")) for name, text in headers.items())
    return reply


def nothing(status: int = 204, headers: Mapping[str, str] | None = None) -> Reply:
    """Return a reply without a body."""
    more = [(name.lower().encode(), text.encode("latin-1")) for name, text in (headers or {}).items()]
    return Reply(status, b"", [*_EMPTY, *more])


def content(body: bytes, media_type: str, *, status: int = 200, headers: Mapping[str, str] | None = None) -> Reply:
    """Return a reply of another media type."""
    lines = [(b"content-type", media_type.encode()), (b"content-length", b"%d" % len(body)), _NO_STORE, _NO_SNIFF]
    more = [(name.lower().encode(), text.encode("latin-1")) for name, text in (headers or {}).items()]
    return Reply(status, body, [*lines, *more])


NO_CONTENT = nothing()
"""The shared reply without content; never modified."""
