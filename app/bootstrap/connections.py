"""Limits of open connections, per source and in total, so that file descriptors remain for everything else."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Container

import structlog

from app.bootstrap import descriptors

MIN_RESERVE, MAX_RESERVE = 48, 256
"""Descriptors that are kept for the database, child processes, and calls to others: a quarter of the limit between."""
LOG_INTERVAL_S = 1.0

_log = structlog.get_logger(__name__)


class ConnectionLimits:
    """Counts the open connections by source address. Belongs to one event loop."""

    def __init__(
        self,
        *,
        per_source: int = sys.maxsize,
        overall: int = sys.maxsize,
        exempt: Container[str] = (),
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.open = 0
        self.refused = 0
        self._per_source = per_source
        self._overall = overall
        self._exempt = exempt
        self._clock = clock
        self._sources: dict[str, int] = {}
        self._logged_at = float("-inf")
        self._unlogged = 0

    def admit(self, source: str) -> Callable[[], None] | None:
        """Count one connection and return what to call once at its end, or None if there are too many already."""
        held = self._sources.get(source, 0)
        if self.open >= self._overall:
            return self._refuse(source, "descriptors", self._overall)
        if held >= self._per_source and source not in self._exempt:
            return self._refuse(source, "connections", self._per_source)
        self.open += 1
        self._sources[source] = held + 1
        return lambda: self._release(source)

    def _release(self, source: str) -> None:
        self.open -= 1
        self._sources[source] -= 1
        if not self._sources[source]:
            del self._sources[source]

    def _refuse(self, source: str, cause: str, limit: int) -> None:
        """Count a refused connection, and log it unless another was logged within the last second."""
        self.refused += 1
        self._unlogged += 1
        now = self._clock()
        if now - self._logged_at >= LOG_INTERVAL_S:
            count, self._logged_at, self._unlogged = self._unlogged, now, 0
            _log.warning("connections_refused", source=source, cause=cause, limit=limit, count=count)


def attainable_connections() -> int:
    """Return how many connections leave enough descriptors of this process for everything else."""
    limit = descriptors.raise_limit()
    return max(1, limit - min(MAX_RESERVE, max(MIN_RESERVE, limit // 4)))
