"""Reads of large values: beside the event loop, one at a time, and one for all callers that want the same.

A value of megabytes takes the loop milliseconds to render, so that no two may be ready in one turn of it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Hashable
from typing import Any, TypeVar

from app.engine.transactions import Transactions
from app.state.state import State

R = TypeVar("R")


class LargeReads:
    """Runs functions of the state that return large values."""

    def __init__(self, transactions: Transactions) -> None:
        self._transactions = transactions
        self._turn = asyncio.Lock()
        self._running: dict[Hashable, asyncio.Task[Any]] = {}

    async def read(self, fn: Callable[[State], R]) -> R:
        """Run `fn` when the reads before it are done."""
        async with self._turn:
            return await self._transactions.read(fn, bulk=True)

    async def read_shared(self, key: Hashable, fn: Callable[[State], R]) -> R:
        """Run `fn`, or wait for the call with the same key that is under way, whose result is as good.

        Cancelling one caller does not cancel the read for the others.
        """
        running = self._running.get(key)
        if running is None:
            running = asyncio.get_running_loop().create_task(self.read(fn), name=f"read {key}")
            self._running[key] = running
            running.add_done_callback(lambda done: self._forget(key, done))
        return await asyncio.shield(running)

    def _forget(self, key: Hashable, done: asyncio.Task[Any]) -> None:
        del self._running[key]
        if not done.cancelled():
            done.exception()  # its callers may all be gone
