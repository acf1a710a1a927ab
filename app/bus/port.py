"""The port for hints: 'look again at this topic'.

A hint may be lost, doubled or early; it carries nothing. Waiters subscribe first, then read the rows, then wait, and
read again now and then without a hint, so that a lost one costs a delay and never an answer.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Protocol


class Signal(Protocol):
    """One waiter's ear on some topics. Not shared between coroutines."""

    def clear(self) -> None:
        """Forget hints that came so far; call it before reading the rows."""
        ...

    async def wait(self, timeout_s: float | None) -> bool:
        """Wait for a hint since `clear`; False when the time ran out. Cancelling is safe."""
        ...

    def close(self) -> None:
        """Stop listening. Idempotent."""
        ...


class HintBus(Protocol):
    """Carries hints within a process, or between server processes."""

    async def open(self) -> None:
        """Connect."""
        ...

    async def close(self) -> None:
        """Disconnect; every waiter is woken."""
        ...

    def publish(self, topics: Iterable[str]) -> None:
        """Wake whoever listens to one of these topics. Never blocks and never raises for a lost connection."""
        ...

    def listen(self, *topics: str) -> Signal:
        """Listen from now on."""
        ...
