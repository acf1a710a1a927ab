"""The send queue of one WebSocket: bounded, so that a slow client is disconnected."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable

from app.ws.protocol import OutgoingFrame


class SlowReader(Exception):
    """The client does not read as fast as frames are queued."""


class Outbox:
    """A queue of frames with a limit by number and by bytes. Belongs to one event loop."""

    def __init__(self, *, frames: int, size: int, stall_s: float) -> None:
        self._most_frames = frames
        self._most_bytes = size
        self._stall_s = stall_s
        self._waiting: deque[OutgoingFrame] = deque()
        self._bytes = 0
        self._filled = asyncio.Event()
        self._taken = asyncio.Event()

    def _is_full(self) -> bool:
        return len(self._waiting) >= self._most_frames or self._bytes >= self._most_bytes

    def put_nowait(self, frame: OutgoingFrame) -> None:
        """Queue a frame without waiting. Raises SlowReader when the queue is full."""
        if self._is_full():
            raise SlowReader
        self._waiting.append(frame)
        self._bytes += len(frame.data)
        self._filled.set()

    async def put(self, frame: OutgoingFrame) -> None:
        """Queue a frame once the queue is less than half full.

        Raises SlowReader when nothing is sent for the stall limit.
        """
        while len(self._waiting) * 2 >= self._most_frames or self._bytes * 2 >= self._most_bytes:
            self._taken.clear()
            try:
                async with asyncio.timeout(self._stall_s):
                    await self._taken.wait()
            except TimeoutError:
                raise SlowReader from None
        self.put_nowait(frame)

    async def deliver(self, send: Callable[[str], Awaitable[None]], on_delivered: Callable[[str], None]) -> None:
        """Send queued frames until cancelled, and call `on_delivered` with the key of each question sent.

        Raises SlowReader when one frame takes longer than the stall limit.
        """
        while True:
            while not self._waiting:
                self._filled.clear()
                await self._filled.wait()
            frame = self._waiting.popleft()
            self._bytes -= len(frame.data)
            self._taken.set()
            try:
                async with asyncio.timeout(self._stall_s):
                    await send(frame.data.decode())
            except TimeoutError:
                raise SlowReader from None
            if frame.question_key is not None:
                on_delivered(frame.question_key)
