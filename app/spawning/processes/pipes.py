"""The parent's ends of a child's pipes, read and written without blocking the event loop."""

from __future__ import annotations

import asyncio
import os
from typing import IO

_CHUNK = 64 * 1024
_LARGEST_PIPE = 1024 * 1024
"""No pipe of an unprivileged user holds more (pipe(7), /proc/sys/fs/pipe-max-size)."""


class ReadPipe:
    """The read end of a child's standard output or standard error. One reader at a time."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file
        self._fd = file.fileno()
        self._ready = asyncio.Event()
        self._left: int | None = None
        os.set_blocking(self._fd, False)

    async def read(self) -> bytes:
        """Return the next bytes; empty at the end. Cancelling loses nothing."""
        while self._left is None or self._left > 0:
            # A child that writes faster than this end reads must not keep the loop from everybody else.
            await asyncio.sleep(0)
            try:
                data = os.read(self._fd, _CHUNK)
            except BlockingIOError:
                if self._left is not None:
                    return b""
                await self._readable()
                continue
            if self._left is not None:
                self._left -= len(data)
            return data
        return b""

    def finish(self) -> None:
        """Let `read` return what is in the pipe now, then end, even if another process holds the write end open."""
        self._left = _LARGEST_PIPE
        self._ready.set()

    def close(self) -> None:
        """Close this end."""
        self._file.close()

    async def _readable(self) -> None:
        loop = asyncio.get_running_loop()
        self._ready.clear()
        loop.add_reader(self._fd, self._ready.set)
        try:
            await self._ready.wait()
        finally:
            loop.remove_reader(self._fd)


class _Closing(asyncio.BaseProtocol):
    """Notes when the pipe is closed, by either end."""

    def __init__(self) -> None:
        self.closed = asyncio.Event()

    def connection_lost(self, exc: Exception | None) -> None:
        del exc
        self.closed.set()


async def feed(file: IO[bytes], data: bytes) -> None:
    """Write all of `data` and close the pipe. A reader that closes its end early, or never reads, is no error.

    Cancelling closes the pipe.
    """
    loop = asyncio.get_running_loop()
    transport, protocol = await loop.connect_write_pipe(_Closing, file)
    try:
        transport.write(data)
        transport.close()
        await protocol.closed.wait()
    finally:
        transport.abort()
