"""Writes to connections: batched, and given up when the client stops reading.

uvicorn writes the head and the body of a response separately, and each write is a system call, which costs more than
most of the rest of a small response: everything that one iteration of the event loop writes is sent by one.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any, cast

from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol

from app.bootstrap.connections import ConnectionLimits
from app.bootstrap.http_limits import LimitedHttpProtocol

STALL_S = 20.0
"""How long a client may read nothing while data waits for it."""
STALL_AT_STOP_S = 1.0
CLOSE = (b"connection", b"close")
_CHECKS = 4
"""Checks of a waiting connection within its stall limit."""


class BatchingTransport(asyncio.Transport):
    """A transport that collects writes until the end of the loop's iteration and delegates everything else."""

    def __init__(self, inner: asyncio.Transport, loop: asyncio.AbstractEventLoop, *, stall_s: float = STALL_S) -> None:
        super().__init__()
        self._inner = inner
        self._loop = loop
        self._pending: list[bytes] = []
        self._stall_s = stall_s
        self._check: asyncio.TimerHandle | None = None
        self._waiting = 0
        self._moved_at = 0.0
        self.release: Callable[[], None] | None = None
        """What a WebSocket that took the connection over calls at its end."""

    def watch(self) -> None:
        """Abort the connection as soon as its client has read nothing for the stall limit while data waits."""
        if self._check is None:
            self._waiting = self._inner.get_write_buffer_size()
            self._moved_at = self._loop.time()
            self._check = self._loop.call_later(self._stall_s / _CHECKS, self._check_progress)

    def shorten_stall_limit(self) -> None:
        """Shorten the stall limit, because the server is stopping."""
        self._stall_s = min(self._stall_s, STALL_AT_STOP_S)
        self.unwatch()
        if self.get_write_buffer_size():
            self.watch()

    def unwatch(self) -> None:
        """Stop watching; the connection is lost."""
        if self._check is not None:
            self._check.cancel()
            self._check = None

    def _check_progress(self) -> None:
        self._check = None
        waiting, now = self._inner.get_write_buffer_size(), self._loop.time()
        if not waiting:
            return
        if waiting != self._waiting:
            self._waiting, self._moved_at = waiting, now
        elif now - self._moved_at >= self._stall_s:
            self.abort()
            return
        self._check = self._loop.call_later(self._stall_s / _CHECKS, self._check_progress)

    def write(self, data: Any) -> None:
        """Send the data together with whatever else this iteration of the loop writes."""
        if not self._pending:
            self._loop.call_soon(self._flush)
        self._pending.append(data)

    def _flush(self) -> None:
        pending = self._pending
        if pending:
            data = pending[0] if len(pending) == 1 else b"".join(pending)
            pending.clear()
            if not self._inner.is_closing():
                self._inner.write(data)

    def close(self) -> None:
        """Send pending data, then close."""
        self._flush()
        self._inner.close()
        if self._inner.get_write_buffer_size():
            self.watch()

    def abort(self) -> None:
        """Close at once and discard pending data."""
        self._pending.clear()
        self._inner.abort()

    def write_eof(self) -> None:
        """Send pending data, then close the write end."""
        self._flush()
        self._inner.write_eof()

    def can_write_eof(self) -> bool:
        """Delegate to the transport."""
        return self._inner.can_write_eof()

    def is_closing(self) -> bool:
        """Delegate to the transport."""
        return self._inner.is_closing()

    def is_reading(self) -> bool:
        """Delegate to the transport."""
        return self._inner.is_reading()

    def pause_reading(self) -> None:
        """Delegate to the transport."""
        self._inner.pause_reading()

    def resume_reading(self) -> None:
        """Delegate to the transport."""
        self._inner.resume_reading()

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        """Delegate to the transport."""
        self._inner.set_write_buffer_limits(high, low)

    def get_write_buffer_size(self) -> int:
        """Return the size of the transport's buffer and of the pending data."""
        return self._inner.get_write_buffer_size() + sum(map(len, self._pending))

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        """Delegate to the transport."""
        return self._inner.get_extra_info(name, default)

    def set_protocol(self, protocol: asyncio.BaseProtocol) -> None:
        """Delegate to the transport; this is how a WebSocket takes the connection over."""
        self._inner.set_protocol(protocol)

    def get_protocol(self) -> asyncio.BaseProtocol:
        """Delegate to the transport."""
        return self._inner.get_protocol()


class BatchingHttpProtocol(LimitedHttpProtocol):
    """The limited HTTP protocol on a transport that batches writes, with a limit of connections and of stalls."""

    def __init__(
        self, *args: Any, connections: ConnectionLimits | None = None, stall_s: float = STALL_S, **options: Any
    ) -> None:
        super().__init__(*args, **options)
        self._limits = connections or ConnectionLimits()
        self._stall_s = stall_s
        self._release: Callable[[], None] | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:
        """Wrap the transport, or close it when there are too many."""
        peer = transport.get_extra_info("peername")
        self._release = self._limits.admit(str(peer[0]) if peer else "")
        if self._release is None:
            transport.abort()
        else:
            super().connection_made(BatchingTransport(transport, self.loop, stall_s=self._stall_s))

    def connection_lost(self, exc: Exception | None) -> None:
        """Stop counting and watching the connection."""
        if self._release is not None:
            self._release()
            _batching(self.transport).unwatch()
            super().connection_lost(exc)

    def pause_writing(self) -> None:
        """Watch whether the client goes on reading."""
        super().pause_writing()
        _batching(self.transport).watch()

    def shutdown(self) -> None:
        """Close, or let the current reply end, without waiting for a client that does not read."""
        super().shutdown()
        _batching(self.transport).shorten_stall_limit()

    def handle_websocket_upgrade(self) -> None:
        """Pass the counted connection on to the WebSocket protocol."""
        transport = _batching(self.transport)
        transport.release, self._release = self._release, None
        super().handle_websocket_upgrade()


class WebSocketProtocol(WebSocketsSansIOProtocol):
    """uvicorn's WebSocket protocol on the transport of the HTTP connection that it takes over."""

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        # A connection that becomes a WebSocket does not end with the reply to its handshake.
        self.default_headers = [header for header in self.default_headers if header != CLOSE]

    def connection_lost(self, exc: Exception | None) -> None:
        """Stop counting and watching the connection."""
        transport = _batching(self.transport)
        transport.unwatch()
        if transport.release is not None:
            transport.release()
        super().connection_lost(exc)

    def pause_writing(self) -> None:
        """Watch whether the client goes on reading."""
        super().pause_writing()
        _batching(self.transport).watch()

    def shutdown(self) -> None:
        """Close without waiting for a client that does not read."""
        super().shutdown()
        _batching(self.transport).shorten_stall_limit()

    async def send(self, message: Any) -> None:
        """Send a message. A handshake that was refused by a response is complete, which uvicorn does not note."""
        await super().send(message)
        if self.initial_response is not None and self.close_sent:
            self.handshake_complete = True


def _batching(transport: asyncio.Transport) -> BatchingTransport:
    return cast("BatchingTransport", transport)
