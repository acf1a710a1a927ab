"""Background maintenance: the retention sweep, the scan for stranded rows, the audit log's heads in the log, the rows
of who listens, and the index of tasks."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress

import structlog

from app.config import RetentionSettings
from app.domain.errors import EngineError
from app.engine.engine import Engine
from app.engine.ops import scans
from app.state import audit_log
from app.state.policies import HoldPolicy
from app.state.retention import sweep

_log = structlog.get_logger(__name__)

SCAN_INTERVAL_S = 300.0
HEAD_INTERVAL_S = 3600.0
LISTENERS_INTERVAL_S = 5.0
PAUSE_S = 0.02
"""Pause between two batches of a sweep, in which other writes run."""


class _Unquoted(str):
    """A text that the log shows without quotes, so that it can be copied and searched for as it is."""

    __repr__ = str.__str__


class Maintenance:
    """Background loops over a started engine. Call `start` and `stop` once each."""

    def __init__(self, engine: Engine, settings: RetentionSettings) -> None:
        self._engine = engine
        self._settings = settings
        self._loops: list[asyncio.Task[None]] = []
        self.stranded = 0
        """Number of rows without a next event that the last scan found."""

    def start(self) -> None:
        """Start the loops; each pauses before its first run."""
        self._loops = [
            asyncio.create_task(
                self._repeat("retention", self.sweep, self._settings.interval.total_seconds()), name="retention"
            ),
            asyncio.create_task(self._repeat("scan", self.scan, SCAN_INTERVAL_S), name="scan for stranded rows"),
            asyncio.create_task(
                self._repeat("listeners", self._engine.listeners.flush, LISTENERS_INTERVAL_S), name="listeners"
            ),
            asyncio.create_task(self._engine.indexing.run(), name="index of tasks"),
            asyncio.create_task(self._repeat("heads", self.log_head, HEAD_INTERVAL_S), name="heads of the audit log"),
        ]

    async def stop(self) -> None:
        """Cancel the loops, wait for their end, and log the audit log's head a last time."""
        for loop in self._loops:
            loop.cancel()
        for loop in self._loops:
            with suppress(asyncio.CancelledError):
                await loop
        try:
            await self._engine.refusals.write_all()
            await self.log_head()
        except EngineError as error:
            _log.warning("maintenance_failed", loop="heads", reason=str(error))

    async def log_head(self) -> None:
        """Log the audit log's newest row, outside the database: `swarmhold audit verify --head` compares the two."""
        head = await self._engine.transactions.read(lambda state: audit_log.head(state.db))
        _log.info("audit_head", head=_Unquoted(head))

    async def sweep(self) -> int:
        """Remove what has outlived its retention, batch by batch, and return how many rows that were."""
        policy, total = HoldPolicy.relaxed().unbounded(), 0
        while removed := await self._engine.with_state(
            "retention", lambda state: sweep(state, self._settings.policy, limit=self._settings.batch), policy=policy
        ):
            total += removed
            await asyncio.sleep(PAUSE_S)
        if total:
            _log.info("retention_removed", rows=total)
        return total

    async def scan(self) -> None:
        """Count the rows without a next event, and log the first of them."""
        found = await self._engine.store.read(scans.stranded, bulk=True)
        self.stranded = len(found)
        for row in found[:20]:
            _log.warning("row_stranded", task_id=row.task_id, what=row.what)

    async def _repeat(self, name: str, step: Callable[[], Awaitable[object]], pause_s: float) -> None:
        while True:
            await asyncio.sleep(pause_s)
            try:
                await step()
            except EngineError as error:
                _log.warning("maintenance_failed", loop=name, reason=str(error))
            except Exception:  # noqa: BLE001 - one failure must not end a loop that runs as long as the server
                _log.exception("maintenance_failed", loop=name)
