"""A control server: workers that the server itself runs connect to it, name their attempt, and do what it orders.

Functions in the server and child processes alike. The connection of whatever ended is closed by the operating system,
so that its end is noticed without asking.
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
    """One connected worker. `pid` is the process that it runs in."""

    task_id: str
    attempt: int
    handle: str
    pid: int
    _reader: asyncio.StreamReader
    _writer: asyncio.StreamWriter

    async def tell(self, **order: Any) -> None:
        """Send it an order; it may be gone already."""
        with contextlib.suppress(ConnectionError):
            self._writer.write(orjson.dumps(order) + b"\n")
            await self._writer.drain()

    async def reply(self) -> dict[str, Any]:
        """Return its next reply."""
        async with asyncio.timeout(60):
            return orjson.loads(await self._reader.readline())

    async def gone(self) -> None:
        """Wait until it has ended."""
        async with asyncio.timeout(60):
            with contextlib.suppress(ConnectionError):
                await self._reader.read()

    def hang_up(self) -> None:
        """Close the connection."""
        self._writer.close()


class ControlServer:
    """The workers that have connected, by task and attempt."""

    def __init__(self) -> None:
        self.port = 0
        self._callers: dict[tuple[str, int], Caller] = {}

    async def caller(self, task_id: str, attempt: int) -> Caller:
        """Return the worker of this attempt, once it has connected."""
        return await present(self._callers, (task_id, attempt), awaited=f"worker {attempt} of {task_id} to connect")

    def has(self, task_id: str, attempt: int) -> bool:
        """Return whether a worker of this attempt ever connected."""
        return (task_id, attempt) in self._callers

    async def clear_away(self) -> None:
        """End whatever a failed test has left of the workers that ever connected."""
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
async def open_control_server() -> AsyncIterator[ControlServer]:
    """A control_server on a free port until the block ends."""
    control_server = ControlServer()
    server = await asyncio.start_server(control_server.take, LOOPBACK, 0)
    control_server.port = server.sockets[0].getsockname()[1]
    try:
        yield control_server
    finally:
        server.close()
        control_server.hang_up()
