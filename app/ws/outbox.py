"""The send queue of one WebSocket: bounded, so that a slow client is disconnected."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable

from app.ws.protocol import Say


class SlowReader(Exception):
    """The client does not read as fast as frames are queued."""


class Outbox:
    """A queue of frames with a limit by number and by bytes. Belongs to one event loop."""

    def __init__(self, *, frames: int, size: int, stall_s: float) -> None:
        self._most_frames = frames
        self._most_bytes = size
        self._stall_s = stall_s
        self._waiting: deque[Say] = deque()
        self._bytes = 0
        self._filled = asyncio.Event()
        self._taken = asyncio.Event()

    def _is_full(self) -> bool:
        return len(self._waiting) >= self._most_frames or self._bytes >= self._most_bytes

    def put(self, say: Say) -> None:
        """Queue a live frame. Raises SlowReader when the queue is full."""
        if self._is_full():
            raise SlowReader
        self._waiting.append(say)
        self._bytes += len(say.frame)
        self._filled.set()

    async def put_patiently(self, say: Say) -> None:
        """Queue a frame of a backlog, waiting for room. Raises SlowReader when the client reads nothing for long."""
        while len(self._waiting) * 2 >= self._most_frames or self._bytes * 2 >= self._most_bytes:
            self._taken.clear()
            try:
                async with asyncio.timeout(self._stall_s):
                    await self._taken.wait()
            except TimeoutError:
                raise SlowReader from None
        self.put(say)

    async def deliver(self, send: Callable[[str], Awaitable[None]], told: Callable[[str], None]) -> None:
        """Send queued frames until cancelled; `told` receives the key of each delivered question. Raises SlowReader."""
        while True:
            while not self._waiting:
                self._filled.clear()
                await self._filled.wait()
            say = self._waiting.popleft()
            self._bytes -= len(say.frame)
            self._taken.set()
            try:
                async with asyncio.timeout(self._stall_s):
                    await send(say.frame.decode())
            except TimeoutError:
                raise SlowReader from None
            if say.delivers is not None:
                told(say.delivers)
