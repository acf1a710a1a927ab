"""Replies as bytes: JSON written by orjson, header lines made once."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import orjson
from starlette.background import BackgroundTask
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

Headers = list[tuple[bytes, bytes]]

_NO_STORE = (b"cache-control", b"no-store")
_NO_SNIFF = (b"x-content-type-options", b"nosniff")
_JSON = (b"content-type", b"application/json")
_EMPTY = [_NO_STORE, _NO_SNIFF]


class Reply(Response):
    """A complete reply. Cheaper to make than Starlette's, and otherwise the same to whoever sends it."""

    def __init__(self, status: int, body: bytes, headers: Headers) -> None:
        # Starlette's own initialiser would encode and count what is ready already.
        self.status_code = status
        self.body = body
        self.raw_headers = headers
        self.background: BackgroundTask | None = None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
        await send({"type": "http.response.body", "body": self.body})


def encoded(body: bytes, *, status: int = 200) -> Reply:
    """A reply of JSON that is written already."""
    return Reply(status, body, [_JSON, (b"content-length", b"%d" % len(body)), _NO_STORE, _NO_SNIFF])


def json(value: Any, *, status: int = 200, headers: Mapping[str, str] | None = None) -> Reply:
    """A reply of JSON; fragments of `Json` are embedded as they are."""
    reply = encoded(orjson.dumps(value), status=status)
    if headers:
        reply.raw_headers.extend((name.lower().encode(), text.encode("latin-1")) for name, text in headers.items())
    return reply


def nothing(status: int = 204, headers: Mapping[str, str] | None = None) -> Reply:
    """A reply without a body."""
    more = [(name.lower().encode(), text.encode("latin-1")) for name, text in (headers or {}).items()]
    return Reply(status, b"", [*_EMPTY, *more])


def content(body: bytes, media_type: str, *, status: int = 200, headers: Mapping[str, str] | None = None) -> Reply:
    """A reply of any other type."""
    lines = [(b"content-type", media_type.encode()), (b"content-length", b"%d" % len(body)), _NO_STORE, _NO_SNIFF]
    more = [(name.lower().encode(), text.encode("latin-1")) for name, text in (headers or {}).items()]
    return Reply(status, body, [*lines, *more])


NO_CONTENT = nothing()
"""The reply to a call that has nothing to say; shared, so never changed."""
