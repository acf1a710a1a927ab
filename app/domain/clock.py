"""Time as the domain sees it: whole milliseconds since the Unix epoch, from an injected clock."""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
MILLISECOND = timedelta(milliseconds=1)
_LATEST = (datetime.max.replace(tzinfo=UTC) - EPOCH) // MILLISECOND
_EARLIEST = (datetime.min.replace(tzinfo=UTC) - EPOCH) // MILLISECOND

Instant = int
"""Milliseconds since the Unix epoch, UTC."""

Clock = Callable[[], Instant]
"""Returns the present instant. May step backwards; callers that compare instants must bear that."""


def system_clock() -> Instant:
    """The machine's wall clock."""
    return time.time_ns() // 1_000_000


def to_datetime(instant: int) -> datetime:
    """The aware UTC datetime of `instant`.

    Raises:
        ValueError: the instant lies outside the years 1 to 9999.
    """
    if not _EARLIEST <= instant <= _LATEST:
        raise ValueError("an instant must lie within the years 1 to 9999")
    return EPOCH + instant * MILLISECOND


def to_rfc3339(instant: int) -> str:
    """`2026-01-31T09:30:00.125Z`: always UTC, always three digits of milliseconds."""
    return to_datetime(instant).isoformat(timespec="milliseconds").replace("+00:00", "Z")
