"""The follower of the feed that keeps the index of words and the counts of each minute, beside all other work."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from functools import partial
from typing import TypeVar

from app.bus.port import HintBus
from app.domain.clock import Clock
from app.engine import feed
from app.engine.ops import indexing, minutes
from app.engine.retrying import try_step
from app.engine.transactions import Transactions
from app.state.state import State

R = TypeVar("R")

SHORTEST_PAUSE_S = 1.0
REST = 31
"""How many times longer than its work it pauses: it takes a thirtieth of the time at most, however busy the server."""
LONGEST_PAUSE_S = 120.0
AFTER_FAULT_S = 5.0


class Indexing:
    """Reads what is new on the feed and writes what is derived from it, batch by batch.

    It lags behind by its pauses, falls back under sustained load, and catches up afterwards. Whatever it misses or does
    twice changes nothing but what a search finds.
    """

    def __init__(self, transactions: Transactions, *, bus: HintBus, clock: Clock, poll_interval_s: float) -> None:
        self._transactions = transactions
        self._bus = bus
        self._clock = clock
        self._poll_interval_s = poll_interval_s
        self._sampled = 0

    async def run(self) -> None:
        """Keep the index until cancelled; an error is logged and ends nothing."""
        loop = asyncio.get_running_loop()
        subscription = self._bus.subscribe(feed.TOPIC)
        try:
            while True:
                subscription.clear()
                started = loop.time()
                worked = await try_step(self.step, doing="index_tasks", failure="indexing_failed")
                least_s = AFTER_FAULT_S if worked is None else SHORTEST_PAUSE_S
                await asyncio.sleep(min(LONGEST_PAUSE_S, max(least_s, REST * (loop.time() - started))))
                if worked is False:
                    await subscription.wait(min(self._poll_interval_s, self._until_minute_s()))
        finally:
            subscription.close()

    async def catch_up(self) -> None:
        """Index everything that is on the feed now, without pauses."""
        while await self.step():
            pass

    async def step(self) -> bool:
        """Index the next batch, and record how things stand when a minute has begun; return whether there was one."""
        await self._sample()
        batch = await self._read(indexing.next_batch)
        if not batch.changes:
            return False
        left = batch.tasks
        while left:
            found = await self._read(partial(indexing.texts, tasks=left))
            words = await asyncio.to_thread(indexing.words, found)
            if not await self._transactions.run("index_tasks", partial(indexing.write, seen=batch.seen, found=words)):
                return True
            left = left[len(found) :]
        await self._transactions.run("index_tasks", partial(indexing.move_on, batch=batch))
        return True

    async def _sample(self) -> None:
        at = minutes.beginning(self._clock())
        if at != self._sampled:
            found = await self._read(minutes.sample)
            await self._transactions.run("sample_minute", partial(minutes.record, found=found, at=at))
            self._sampled = at

    def _until_minute_s(self) -> float:
        return (minutes.MINUTE_MS - self._clock() % minutes.MINUTE_MS) / 1000

    async def _read(self, fn: Callable[[State], R]) -> R:
        return await self._transactions.read(fn, bulk=True)
