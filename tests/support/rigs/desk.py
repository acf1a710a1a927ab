"""A desk: workers that the server itself runs dial in here, say who they are, and are told what to do.

Functions in the server and child processes alike. The connection of whatever ended is closed by the operating system,
so that its end is heard, not asked for.
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

import orjson

from app.spawning.processes.tree import ProcessTree
from tests.support.ports import LOOPBACK
from tests.support.waiting import present


@dataclass(slots=True)
class Caller:
    """One worker on the line. `pid` is the process that it runs in."""

    task_id: str
    attempt: int
    handle: str
    pid: int
    _reader: asyncio.StreamReader
    _writer: asyncio.StreamWriter

    async def tell(self, **order: Any) -> None:
        """Have it do something; it may be gone already."""
        with contextlib.suppress(ConnectionError):
            self._writer.write(orjson.dumps(order) + b"\n")
            await self._writer.drain()

    async def heard(self) -> dict[str, Any]:
        """Its next reply."""
        async with asyncio.timeout(60):
            return orjson.loads(await self._reader.readline())

    async def gone(self) -> None:
        """Return when it has ended."""
        async with asyncio.timeout(60):
            with contextlib.suppress(ConnectionError):
                await self._reader.read()

    def hang_up(self) -> None:
        """Close the line."""
        self._writer.close()


class Desk:
    """Who dialled in, by task and attempt."""

    def __init__(self) -> None:
        self.port = 0
        self._callers: dict[tuple[str, int], Caller] = {}

    async def caller(self, task_id: str, attempt: int) -> Caller:
        """The worker of this attempt, once it has dialled in."""
        return await present(self._callers, (task_id, attempt), awaited=f"worker {attempt} of {task_id} to dial in")

    def has(self, task_id: str, attempt: int) -> bool:
        """Whether a worker of this attempt ever dialled in."""
        return (task_id, attempt) in self._callers

    async def clear_away(self) -> None:
        """End whatever a test that failed has left of anybody who ever dialled in."""
        for key in self._callers:
            await ProcessTree(*key, leader=None).end(0)

    def hang_up(self) -> None:
        """Close every line."""
        for caller in self._callers.values():
            caller.hang_up()

    async def take(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """A worker dials in."""
        said = orjson.loads(await reader.readline())
        caller = Caller(**said, _reader=reader, _writer=writer)
        self._callers[caller.task_id, caller.attempt] = caller


@contextlib.asynccontextmanager
async def open_desk() -> AsyncIterator[Desk]:
    """A desk on a free port until the block ends."""
    desk = Desk()
    server = await asyncio.start_server(desk.take, LOOPBACK, 0)
    desk.port = server.sockets[0].getsockname()[1]
    try:
        yield desk
    finally:
        server.close()
        desk.hang_up()
