"""Replies: JSON written by orjson, with prepared header fields."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Hashable, Mapping
from typing import Any
from weakref import WeakKeyDictionary, WeakValueDictionary

from starlette.background import BackgroundTask
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from app.domain.json import encode

Headers = list[tuple[bytes, bytes]]

PIECE = 64 * 1024
"""Bytes of a body that are written at once."""
PIECES = 8
"""Pieces that are written in one turn of the event loop."""
_TURNS: WeakKeyDictionary[asyncio.AbstractEventLoop, asyncio.Semaphore] = WeakKeyDictionary()

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
        self.shares: Reply | None = None
        """The reply whose body this one has, which is kept alive for others."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        # In place of a WebSocket's handshake the messages have a prefix (the ASGI extension websocket.http.response).
        prefix = "websocket." if scope["type"] == "websocket" else ""
        await send({"type": f"{prefix}http.response.start", "status": self.status_code, "headers": self.raw_headers})
        await send_body(send, self.body, f"{prefix}http.response.body")


def encoded(body: bytes, *, status: int = 200) -> Reply:
    """Return a reply of serialised JSON."""
    return Reply(status, body, [_JSON, (b"content-length", b"%d" % len(body)), _NO_STORE, _NO_SNIFF])


def public(value: Any, *, max_age_s: int) -> Reply:
    """Return a JSON reply that everybody may see and keep for some seconds."""
    body = encode(value)
    keep = (b"cache-control", b"public, max-age=%d" % max_age_s)
    return Reply(200, body, [_JSON, (b"content-length", b"%d" % len(body)), keep, _NO_SNIFF])


async def send_body(send: Send, body: bytes | memoryview, kind: str = "http.response.body") -> None:
    """Send the whole body of a reply: a large one in pieces, as its client reads, of which all replies take turns."""
    at = 0
    while at + PIECE < len(body):
        await _turn()
        await send({"type": kind, "body": body[at : at + PIECE], "more_body": True})
        at += PIECE
    await send({"type": kind, "body": body[at:]})


async def _turn() -> None:
    """Wait until this turn of the event loop has room for one more piece."""
    loop = asyncio.get_running_loop()
    turns = _TURNS.get(loop)
    if turns is None:
        turns = _TURNS[loop] = asyncio.Semaphore(PIECES)
    async with turns:
        await asyncio.sleep(0)


class SharedBodies:
    """Large bodies that are being sent, so that all who get the same at a time share one."""

    def __init__(self) -> None:
        self._known: WeakValueDictionary[Hashable, Reply] = WeakValueDictionary()

    def json(self, key: Hashable, value: Callable[[], Any], *, status: int) -> Reply:
        """Return a JSON reply of `value()`, or of what was rendered under this key for a reply that is alive."""
        before = self._known.get(key)
        if before is None:
            self._known[key] = reply = json(value(), status=status)
            return reply
        reply = encoded(before.body, status=status)
        reply.shares = before
        return reply


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
