"""Hints within one process."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable

from app.bus.port import HintCounts


class LocalSubscription:
    """A subscription to some topics of a `LocalBus`. Costs a few hundred bytes while it waits."""

    __slots__ = ("_bus", "_notified", "_topics", "_waiter")

    def __init__(self, bus: LocalBus, topics: tuple[str, ...]) -> None:
        self._bus = bus
        self._topics = topics
        self._notified = False
        self._waiter: asyncio.Future[bool] | None = None
        bus.add(self, topics)

    def notify(self) -> None:
        """Record a hint and wake the waiter."""
        self._notified = True
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(True)

    def clear(self) -> None:
        """Discard the hints received so far."""
        self._notified = False

    async def wait(self, timeout_s: float | None) -> bool:
        """Wait for a hint received since `clear`. Return False when it is time to read without one."""
        if self._notified:
            return True
        longest_s = self._bus.longest_wait_s
        if longest_s is not None and (timeout_s is None or longest_s < timeout_s):
            timeout_s = longest_s
        loop = asyncio.get_running_loop()
        waiter: asyncio.Future[bool] = loop.create_future()
        self._waiter = waiter
        timer = loop.call_later(timeout_s, _time_out, waiter) if timeout_s is not None else None
        try:
            return await waiter
        finally:
            self._waiter = None
            if timer is not None:
                timer.cancel()

    def close(self) -> None:
        """Unsubscribe. Idempotent."""
        self._bus.remove(self, self._topics)
        self._topics = ()


def _time_out(waiter: asyncio.Future[bool]) -> None:
    if not waiter.done():
        waiter.set_result(False)


class LocalBus:
    """Hints within one process: a dictionary of subscriptions by topic.

    `longest_wait_s` is how long a wait lasts at most before its waiter reads again; None where no hint is ever lost.
    """

    def __init__(self) -> None:
        self.counts = HintCounts()
        self.had_others = False
        self.longest_wait_s: float | None = None
        self._subscriptions: dict[str, set[LocalSubscription]] = {}

    @property
    def failure(self) -> str | None:
        """None: there is nothing that can fail."""
        return None

    async def open(self) -> None:
        """Do nothing: there is nothing to connect to."""

    async def close(self) -> None:
        """Wake every waiter."""
        self.wake_all()

    def expect_others(self, expected: bool) -> None:
        """Note whether other nodes are alive; hints stay in this process all the same."""
        self.had_others |= expected

    def wake_all(self) -> None:
        """Wake every waiter, whatever its topics."""
        for subscribed in tuple(self._subscriptions.values()):
            for subscription in tuple(subscribed):
                subscription.notify()

    def publish(self, topics: Iterable[str]) -> None:
        """Wake every subscriber to one of these topics."""
        for topic in topics:
            for subscription in tuple(self._subscriptions.get(topic, ())):
                subscription.notify()

    def subscribe(self, *topics: str) -> LocalSubscription:
        """Subscribe to the topics from now on."""
        return LocalSubscription(self, topics)

    def add(self, subscription: LocalSubscription, topics: tuple[str, ...]) -> None:
        """Register a subscription; called by the subscription itself."""
        for topic in topics:
            self._subscriptions.setdefault(topic, set()).add(subscription)

    def remove(self, subscription: LocalSubscription, topics: tuple[str, ...]) -> None:
        """Unregister a subscription; called by the subscription itself."""
        for topic in topics:
            subscribed = self._subscriptions.get(topic)
            if subscribed is not None:
                subscribed.discard(subscription)
                if not subscribed:
                    del self._subscriptions[topic]
