"""What the server has acknowledged, as its clients remember it."""

import asyncio
import contextlib
import os
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

MINUTES = float(os.environ.get("CHAOS_MINUTES", "0"))
"""How long failures of all kinds go on; 0 for one of each."""
TICK = timedelta(milliseconds=100)
STALL = timedelta(seconds=0.5)
"""Clients whose own loop stands still for longer cannot hold the server to its leases."""


@dataclass(slots=True)
class Ledger:
    """Everything that a reply has promised to keep. What was sent and never acknowledged is not in it."""

    tasks: dict[str, str] = field(default_factory=dict)
    """Kind of life by task id."""
    finals: dict[str, Any] = field(default_factory=dict)
    """The result that each task must end with."""
    answers: dict[str, Any] = field(default_factory=dict)
    received: dict[str, Any] = field(default_factory=dict)
    """Answers as the asking workers got them, by question."""
    outputs: dict[str, list[str]] = field(default_factory=dict)
    cancelled: set[str] = field(default_factory=set)
    workers: set[tuple[str, int]] = field(default_factory=set)
    """Attempts whose worker was here and sent heartbeats: by task id and number."""
    resources: dict[str, Any] = field(default_factory=dict)
    stalls: list[tuple[datetime, datetime]] = field(default_factory=list)
    """When the clients themselves stood still."""
    excused: int = 0
    """Lives that were given up, since their worker was lost while the clients stood still."""
    acknowledged: int = 0
    changed: asyncio.Condition = field(default_factory=asyncio.Condition)

    async def note(self, record: Callable[[], object] = lambda: None) -> None:
        """Record one acknowledgement."""
        async with self.changed:
            record()
            self.acknowledged += 1
            self.changed.notify_all()

    async def until(self, acknowledged: int) -> None:
        """Wait until so many replies came in all."""
        async with self.changed:
            await self.changed.wait_for(lambda: self.acknowledged >= acknowledged)

    async def pause(self, acknowledged: int, *, at_most: timedelta) -> None:
        """Wait until so many more replies came, or for `at_most`."""
        # Not `wait_for`: before Python 3.12 a cancellation that comes with the result is lost in it.
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(at_most.total_seconds()):
                await self.until(self.acknowledged + acknowledged)

    async def watch_stalls(self) -> None:
        """Record when this process itself stood still, until cancelled."""
        while True:
            begin = datetime.now(UTC)
            await self.pause(10**9, at_most=TICK)
            end = datetime.now(UTC)
            if end - begin > STALL:
                self.stalls.append((begin, end))

    def was_silent(self, begin: datetime, end: datetime | None) -> bool:
        """Return whether the clients stood still between the two."""
        return any(start < (end or datetime.now(UTC)) and stop > begin for start, stop in self.stalls)
