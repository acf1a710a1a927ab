"""What a server does beside serving: removing what is old, and looking for rows that nothing will move."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress

import structlog

from app.config import RetentionSettings
from app.domain.errors import EngineError
from app.engine.engine import Engine
from app.engine.ops import scans
from app.state.policies import HoldPolicy
from app.state.retention import sweep

_log = structlog.get_logger(__name__)

SCAN_EVERY_S = 300.0
PAUSE_S = 0.02
"""Between two batches, so that what is removed does not stand in the way of what is done."""


class Housekeeping:
    """Two loops over a started engine. `start` and `stop` once each."""

    def __init__(self, engine: Engine, settings: RetentionSettings) -> None:
        self._engine = engine
        self._settings = settings
        self._loops: list[asyncio.Task[None]] = []
        self.stranded = 0
        """How many rows without a next event the last scan found."""

    def start(self) -> None:
        """Begin, each loop after its first pause."""
        self._loops = [
            asyncio.create_task(
                self._forever("retention", self.sweep, self._settings.interval.total_seconds()), name="retention"
            ),
            asyncio.create_task(self._forever("scan", self.scan, SCAN_EVERY_S), name="scan for stranded rows"),
        ]

    async def stop(self) -> None:
        """End both loops."""
        for loop in self._loops:
            loop.cancel()
        for loop in self._loops:
            with suppress(asyncio.CancelledError):
                await loop

    async def sweep(self) -> int:
        """Remove everything that is old now, batch by batch; how many rows were removed."""
        patient, total = HoldPolicy.relaxed().unbounded(), 0
        while removed := await self._engine.with_state(
            "retention", lambda state: sweep(state, self._settings.policy, limit=self._settings.batch), policy=patient
        ):
            total += removed
            await asyncio.sleep(PAUSE_S)
        if total:
            _log.info("retention_removed", rows=total)
        return total

    async def scan(self) -> None:
        """Look for rows without a next event."""
        found = await self._engine.store.read(scans.stranded, bulk=True)
        self.stranded = len(found)
        for row in found[:20]:
            _log.warning("row_stranded", task_id=row.task_id, what=row.what)

    async def _forever(self, name: str, step: Callable[[], Awaitable[object]], pause_s: float) -> None:
        while True:
            await asyncio.sleep(pause_s)
            try:
                await step()
            except EngineError as error:
                _log.warning("housekeeping_failed", loop=name, reason=str(error))
