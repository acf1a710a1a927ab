"""What the server has acknowledged, as its clients remember it."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any


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
