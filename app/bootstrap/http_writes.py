"""Write batching: everything that one iteration of the event loop writes to a connection is sent by one system call.

uvicorn writes the head and the body of a response separately, and each write is a system call, which costs more than
most of the rest of a small response.
"""

from __future__ import annotations

import asyncio
from typing import Any

from app.bootstrap.http_limits import LimitedHttpProtocol


class BatchingTransport(asyncio.Transport):
    """A transport that collects writes until the end of the loop's iteration and delegates everything else."""

    def __init__(self, inner: asyncio.Transport, loop: asyncio.AbstractEventLoop) -> None:
        super().__init__()
        self._inner = inner
        self._loop = loop
        self._pending: list[bytes] = []

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
    """The limited HTTP protocol on a transport that batches writes."""

    def connection_made(self, transport: asyncio.Transport) -> None:
        """Wrap the transport."""
        super().connection_made(BatchingTransport(transport, self.loop))
