"""Replies that are JSON, or an event stream once the server has to speak before it has the reply."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any

import orjson
from starlette.types import Message, Receive, Scope, Send

from app.http import bodies

STREAM = "swarmhold.mcp.stream"
"""The key of the scope that has the stream of its reply."""
_HEADERS = [
    (b"content-type", b"text/event-stream; charset=utf-8"),
    (b"cache-control", b"no-store"),
    # Tell proxies not to buffer the stream.
    (b"x-accel-buffering", b"no"),
    (b"x-content-type-options", b"nosniff"),
]
_COMMENT = b": still here\n\n"


class ReplyStream:
    """The reply to one request. It begins to stream with the first message that is pushed, and when it takes long."""

    def __init__(self, scope: Scope, receive: Receive, send: Send, *, comment_every_s: float) -> None:
        self.client_left = False
        """Whether the client was seen to be gone. Nothing is sent from then on."""
        self._receive = receive
        self._raw = send
        self._every_s = comment_every_s
        self._may_stream = "text/event-stream" in (bodies.header(scope, b"accept") or "")
        self._began = self._streams = False
        self._body = b""
        self._writing = asyncio.Lock()

    @property
    def has_begun(self) -> bool:
        """Whether a part of the reply was sent."""
        return self._began or self._streams

    @property
    def can_push(self) -> bool:
        """Whether messages can precede the reply."""
        return self._may_stream and (self._streams or not self._began)

    async def receive(self) -> Message:
        """Receive from the client. Its disconnect ends what waits on its behalf."""
        message = await self._receive()
        self.client_left |= message["type"] == "http.disconnect"
        return message

    async def push(self, message: dict[str, Any]) -> None:
        """Send a message before the reply."""
        await self._write(_event(orjson.dumps(message)))

    async def send(self, message: Message) -> None:
        """Pass on a part of the reply, as an event of the stream if that has begun."""
        async with self._writing:
            if self.client_left:
                return
            self._began = True
            if not self._streams:
                await self._raw(message)
            elif message["type"] == "http.response.body":
                self._body += message.get("body", b"")
                if not message.get("more_body", False):
                    body = _event(self._body) if self._body else b""
                    await self._raw({"type": "http.response.body", "body": body})

    @asynccontextmanager
    async def kept(self) -> AsyncGenerator[None]:
        """Keep the connection in use until the reply is there: by a stream of comments, where the client takes one."""
        keeping = asyncio.create_task(self._keep(), name="keep a reply's stream") if self._may_stream else None
        try:
            yield
        finally:
            if keeping is not None:
                keeping.cancel()

    async def _keep(self) -> None:
        while True:
            await asyncio.sleep(self._every_s)
            if not self.can_push:
                return
            await self._write(_COMMENT)

    async def _write(self, part: bytes) -> None:
        async with self._writing:
            if not self.can_push or self.client_left:
                return
            if not self._streams:
                self._streams = True
                await self._raw({"type": "http.response.start", "status": 200, "headers": list(_HEADERS)})
            await self._raw({"type": "http.response.body", "body": part, "more_body": True})


def _event(data: bytes) -> bytes:
    return b"event: message\ndata: " + data + b"\n\n"
