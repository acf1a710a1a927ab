"""A health check that proves a store readable and writable without filling its log when it is asked every second."""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Callable

from app.domain.clock import Instant
from app.domain.errors import StoreUnavailable
from app.state.port import Store
from app.state.state import State
from app.state.statements import Connection
from app.state.tables import get_meta, set_meta

WRITE_INTERVAL_SECONDS = 10.0
TIMEOUT_SECONDS = 3.0
_NAME = "checked_at"


class HealthCheck:
    """Read on every run, and write when the last write is `WRITE_INTERVAL_SECONDS` old or a failure was reported.

    `now` returns monotonic seconds; `failures` counts those that were reported. Belongs to one event loop.
    """

    def __init__(self, *, now: Callable[[], float] = time.monotonic, timeout_seconds: float = TIMEOUT_SECONDS) -> None:
        self._now = now
        self._timeout_seconds = timeout_seconds
        self._written_at = -math.inf
        self.failures = 0
        self._failures_at_write = 0
        self._running = asyncio.Lock()

    def report_failure(self) -> None:
        """Count an operation that has failed, and make the next run write."""
        self.failures += 1

    async def run(self, store: Store) -> None:
        """Raise StoreUnavailable when the store cannot be read or written, or does not answer in time.

        Of concurrent runs one writes. Cancelling is safe.
        """
        try:
            async with asyncio.timeout(self._timeout_seconds), self._running:
                if self._write_due():
                    await self._write(store)
                await store.read(lambda state: get_meta(state.db, _NAME))
        except TimeoutError as error:
            raise StoreUnavailable(f"the database has not answered for {self._timeout_seconds:g} s") from error

    def _write_due(self) -> bool:
        return self.failures != self._failures_at_write or self._now() - self._written_at >= WRITE_INTERVAL_SECONDS

    async def _write(self, store: Store) -> None:
        failures = self.failures
        await store.transact("check", _write_timestamp)
        self._written_at, self._failures_at_write = self._now(), failures


def _write_timestamp(state: State) -> None:
    set_meta(state.db, _NAME, str(state.now))


def last_checked_at(db: Connection) -> Instant | None:
    """Return when a health check last wrote; while a server runs, that is at most about ten seconds ago."""
    text = get_meta(db, _NAME)
    return None if text is None else int(text)
