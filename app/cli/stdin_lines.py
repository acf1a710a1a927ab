"""Lines that are typed, read beside everything else that happens."""

from __future__ import annotations

import asyncio
import os
import sys
from types import TracebackType
from typing import Self

_CHUNK = 65536


class StdinLines:
    """Standard input by lines. Use it as a context manager inside a running loop.

    A terminal, a pipe or a file: what the loop cannot wait for is read in a thread.
    """

    def __init__(self) -> None:
        self._lines: asyncio.Queue[str | None] = asyncio.Queue()
        self._returned: list[str | None] = []
        self._rest = b""
        self._reader: asyncio.Task[None] | None = None
        self._watched = False

    async def line(self) -> str | None:
        """The next line without its end; None when there is no more. Cancelling loses none."""
        line = self._returned.pop() if self._returned else await self._lines.get()
        if line is None:
            self._lines.put_nowait(None)
        return line

    def put_back(self, line: str | None) -> None:
        """Let the next call of `line` find this one."""
        self._returned.append(line)

    def __enter__(self) -> Self:
        loop = asyncio.get_running_loop()
        try:
            loop.add_reader(sys.stdin.fileno(), self._readable)
            self._watched = True
        except PermissionError:  # a regular file is always readable, and epoll(7) does not take it
            self._reader = loop.create_task(self._read_all(), name="read standard input")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._watched:
            asyncio.get_running_loop().remove_reader(sys.stdin.fileno())
        if self._reader is not None:
            self._reader.cancel()

    def _readable(self) -> None:
        try:
            data = os.read(sys.stdin.fileno(), _CHUNK)
        except OSError:  # the terminal has gone
            data = b""
        if not data and self._watched:
            asyncio.get_running_loop().remove_reader(sys.stdin.fileno())
            self._watched = False
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
