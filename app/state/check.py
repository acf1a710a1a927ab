"""Whether a store can be read and written, for those who ask every second and must not fill its log by asking."""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Callable

from app.domain.errors import StoreUnavailable
from app.state.port import Store
from app.state.state import State
from app.state.tables import get_meta, set_meta

WRITE_EVERY_SECONDS = 10.0
PATIENCE_SECONDS = 3.0
_NAME = "checked_at"


class Check:
    """Reads each time, and commits a row when that has not been done for `WRITE_EVERY_SECONDS`, or in doubt.

    `now` tells seconds that never go back. Belongs to one event loop.
    """

    def __init__(
        self, *, now: Callable[[], float] = time.monotonic, patience_seconds: float = PATIENCE_SECONDS
    ) -> None:
        self._now = now
        self._patience_seconds = patience_seconds
        self._written_at = -math.inf
        self._doubts = 0
        self._proven_doubts = 0
        self._turn = asyncio.Lock()

    def doubt(self) -> None:
        """A write has failed: the next run writes."""
        self._doubts += 1

    async def run(self, store: Store) -> None:
        """Raise StoreUnavailable when the store cannot be read or written, or does not answer in time.

        Many may ask at once: one of them writes. Cancelling is safe.
        """
        try:
            async with asyncio.timeout(self._patience_seconds), self._turn:
                if self._is_due():
                    await self._write(store)
                await store.read(lambda state: get_meta(state.db, _NAME))
        except TimeoutError as error:
            raise StoreUnavailable(f"the database has not answered for {self._patience_seconds:g} s") from error

    def _is_due(self) -> bool:
        return self._doubts != self._proven_doubts or self._now() - self._written_at >= WRITE_EVERY_SECONDS

    async def _write(self, store: Store) -> None:
        doubts = self._doubts
        await store.transact("check", _set)
        self._written_at, self._proven_doubts = self._now(), doubts


def _set(state: State) -> None:
    set_meta(state.db, _NAME, str(state.now))
