"""The port for hints: "look again at this topic".

A hint may be lost, duplicated or early, and carries no data. A waiter subscribes first, then reads the rows, then
waits, and reads again now and then without a hint, so that a lost one costs a delay and never an answer.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Protocol


class Subscription(Protocol):
    """One waiter's subscription to some topics. Not shared between coroutines."""

    def clear(self) -> None:
        """Discard the hints received so far; call it before reading the rows."""
        ...

    async def wait(self, timeout_s: float | None) -> bool:
        """Wait for a hint received since `clear`. Return False on a timeout. Cancelling is safe."""
        ...

    def close(self) -> None:
        """Unsubscribe. Idempotent."""
        ...


class HintBus(Protocol):
    """Carries hints within a process, or between server processes."""

    async def open(self) -> None:
        """Connect."""
        ...

    async def close(self) -> None:
        """Disconnect and wake every waiter."""
        ...

    def publish(self, topics: Iterable[str]) -> None:
        """Wake every subscriber to one of these topics. Never blocks and never raises for a lost connection."""
        ...

    def subscribe(self, *topics: str) -> Subscription:
        """Subscribe to the topics: hints published after this call are received."""
        ...
