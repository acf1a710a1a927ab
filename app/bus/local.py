"""Hints within one process."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable


class LocalSignal:
    """An ear on some topics of a `LocalBus`. Costs a few hundred bytes while parked."""

    __slots__ = ("_bus", "_heard", "_parked", "_topics")

    def __init__(self, bus: LocalBus, topics: tuple[str, ...]) -> None:
        self._bus = bus
        self._topics = topics
        self._heard = False
        self._parked: asyncio.Future[bool] | None = None
        bus.add(self, topics)

    def hear(self) -> None:
        """A hint came."""
        self._heard = True
        if self._parked is not None and not self._parked.done():
            self._parked.set_result(True)

    def clear(self) -> None:
        """Forget hints that came so far."""
        self._heard = False

    async def wait(self, timeout_s: float | None) -> bool:
        """Wait for a hint since `clear`; False when the time ran out."""
        if self._heard:
            return True
        loop = asyncio.get_running_loop()
        parked: asyncio.Future[bool] = loop.create_future()
        self._parked = parked
        timer = loop.call_later(timeout_s, _give_up, parked) if timeout_s is not None else None
        try:
            return await parked
        finally:
            self._parked = None
            if timer is not None:
                timer.cancel()

    def close(self) -> None:
        """Stop listening."""
        self._bus.remove(self, self._topics)
        self._topics = ()


def _give_up(parked: asyncio.Future[bool]) -> None:
    if not parked.done():
        parked.set_result(False)


class LocalBus:
    """Hints within one process: a dictionary of ears by topic."""

    def __init__(self) -> None:
        self._ears: dict[str, set[LocalSignal]] = {}

    async def open(self) -> None:
        """Nothing to connect."""

    async def close(self) -> None:
        """Wake everybody."""
        for ears in list(self._ears.values()):
            for ear in list(ears):
                ear.hear()

    def publish(self, topics: Iterable[str]) -> None:
        """Wake whoever listens to one of these topics."""
        for topic in topics:
            ears = self._ears.get(topic)
            if ears:
                for ear in tuple(ears):
                    ear.hear()

    def listen(self, *topics: str) -> LocalSignal:
        """Listen from now on."""
        return LocalSignal(self, topics)

    def add(self, signal: LocalSignal, topics: tuple[str, ...]) -> None:
        """Called by the signal itself."""
        for topic in topics:
            self._ears.setdefault(topic, set()).add(signal)

    def remove(self, signal: LocalSignal, topics: tuple[str, ...]) -> None:
        """Called by the signal itself."""
        for topic in topics:
            ears = self._ears.get(topic)
            if ears is not None:
                ears.discard(signal)
                if not ears:
                    del self._ears[topic]
