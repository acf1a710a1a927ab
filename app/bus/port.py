"""The port for hints: "look again at this topic".

A hint may be lost, duplicated or early, and carries no data. A waiter subscribes first, then reads the rows, then
waits, and reads again now and then without a hint, so that a lost one costs a delay and never an answer.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Protocol

LOCAL = "local"
"""The bus URL of a node that gives no hints to others."""
NATS_SCHEMES = ("nats://", "tls://")


class Subscription(Protocol):
    """One waiter's subscription to some topics. Not shared between coroutines."""

    def clear(self) -> None:
        """Discard the hints received so far; call it before reading the rows."""
        ...

    async def wait(self, timeout_s: float | None) -> bool:
        """Wait for a hint received since `clear`. Return False when it is time to read without one. Cancelling is safe.

        That is after `timeout_s`, or sooner where hints of other nodes may be lost.
        """
        ...

    def close(self) -> None:
        """Unsubscribe. Idempotent."""
        ...


@dataclass(slots=True)
class HintCounts:
    """Counts of topics exchanged with other nodes; `reconnects` counts connections after the first."""

    sent: int = 0
    received: int = 0
    lost: int = 0
    reconnects: int = 0


class HintBus(Protocol):
    """Carries hints within a process, or between server processes."""

    counts: HintCounts
    had_others: bool
    """Whether other nodes were ever known to be alive."""

    @property
    def failure(self) -> str | None:
        """Why hints do not reach other nodes at present; None while they do, or where there are none to reach."""
        ...

    async def open(self) -> None:
        """Connect, or begin to try: a bus that cannot be reached only delays. Subscriptions work from now on."""
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

    def expect_others(self, expected: bool) -> None:
        """Note whether other nodes are known to be alive, from which hints should come."""
        ...
