"""HTTP connections whose replies leave in one piece.

The server library writes a reply's head and its body one after the other, and each write is a system call, which
costs more than most of the rest of a small reply. Here what is written in one turn of the event loop leaves together.
"""

from __future__ import annotations

import asyncio
from typing import Any

from app.bootstrap.bounded import BoundedHttpProtocol


class CorkedTransport(asyncio.Transport):
    """Gathers writes until the end of the loop's turn. All else is the transport's own."""

    def __init__(self, inner: asyncio.Transport, loop: asyncio.AbstractEventLoop) -> None:
        super().__init__()
        self._inner = inner
        self._loop = loop
        self._gathered: list[bytes] = []

    def write(self, data: Any) -> None:
        """Send with whatever else this turn of the loop writes."""
        if not self._gathered:
            self._loop.call_soon(self._flush)
        self._gathered.append(data)

    def _flush(self) -> None:
        gathered = self._gathered
        if gathered:
            data = gathered[0] if len(gathered) == 1 else b"".join(gathered)
            gathered.clear()
            if not self._inner.is_closing():
                self._inner.write(data)

    def close(self) -> None:
        """Send what was gathered, then close."""
        self._flush()
        self._inner.close()

    def abort(self) -> None:
        """Close at once; what was gathered is lost."""
        self._gathered.clear()
        self._inner.abort()

    def write_eof(self) -> None:
        """Send what was gathered, then end this direction."""
        self._flush()
        self._inner.write_eof()

    def can_write_eof(self) -> bool:
        """As the transport says."""
        return self._inner.can_write_eof()

    def is_closing(self) -> bool:
        """As the transport says."""
        return self._inner.is_closing()

    def is_reading(self) -> bool:
        """As the transport says."""
        return self._inner.is_reading()

    def pause_reading(self) -> None:
        """As the transport does."""
        self._inner.pause_reading()

    def resume_reading(self) -> None:
        """As the transport does."""
        self._inner.resume_reading()

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        """As the transport does."""
        self._inner.set_write_buffer_limits(high, low)

    def get_write_buffer_size(self) -> int:
        """What the transport holds, and what was gathered."""
        return self._inner.get_write_buffer_size() + sum(map(len, self._gathered))

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        """As the transport says."""
        return self._inner.get_extra_info(name, default)

    def set_protocol(self, protocol: asyncio.BaseProtocol) -> None:
        """As the transport does; a WebSocket takes the connection over so."""
        self._inner.set_protocol(protocol)

    def get_protocol(self) -> asyncio.BaseProtocol:
        """As the transport says."""
        return self._inner.get_protocol()


class CorkedHttpProtocol(BoundedHttpProtocol):
    """The bounded HTTP protocol on a corked transport."""

    def connection_made(self, transport: asyncio.Transport) -> None:
        """Connected."""
        super().connection_made(CorkedTransport(transport, self.loop))
