"""Standard input by lines, for an event loop."""

from __future__ import annotations

import asyncio
import os
import sys
from types import TracebackType
from typing import Self

_CHUNK = 65536


class StdinLines:
    """The lines of a terminal, a pipe or a file. Use it as a context manager inside a running loop.

    A regular file, which an event loop cannot poll, is read in a thread.
    """

    def __init__(self) -> None:
        self._lines: asyncio.Queue[str | None] = asyncio.Queue()
        self._returned: list[str | None] = []
        self._rest = b""
        self._reader: asyncio.Task[None] | None = None
        self._polled = False

    async def next(self) -> str | None:
        """Return the next line without its line end, or None at the end of input. Cancelling loses no line."""
        line = self._returned.pop() if self._returned else await self._lines.get()
        if line is None:
            self._lines.put_nowait(None)
        return line

    def put_back(self, line: str | None) -> None:
        """Make the next call of `next` return this line."""
        self._returned.append(line)

    def __enter__(self) -> Self:
        loop = asyncio.get_running_loop()
        try:
            loop.add_reader(sys.stdin.fileno(), self._readable)
            self._polled = True
        except PermissionError:  # a regular file is always readable, and epoll(7) does not take it
            self._reader = loop.create_task(self._read_all(), name="read standard input")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._polled:
            asyncio.get_running_loop().remove_reader(sys.stdin.fileno())
        if self._reader is not None:
            self._reader.cancel()

    def _readable(self) -> None:
        try:
            data = os.read(sys.stdin.fileno(), _CHUNK)
        except OSError:  # the terminal has gone
            data = b""
        if not data and self._polled:
            asyncio.get_running_loop().remove_reader(sys.stdin.fileno())
            self._polled = False
        self._take(data)

    async def _read_all(self) -> None:
        data = await asyncio.to_thread(sys.stdin.buffer.read)
        self._take(data)
        self._take(b"")

    def _take(self, data: bytes) -> None:
        *lines, self._rest = (self._rest + data).split(b"\n")
        if not data:
            lines, self._rest = ([self._rest] if self._rest else []), b""
        for line in lines:
            self._lines.put_nowait(line.decode(errors="replace").rstrip("\r"))
        if not data:
            self._lines.put_nowait(None)
