"""Time in the domain: whole milliseconds since the Unix epoch, from an injected clock."""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from functools import lru_cache

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
MILLISECOND = timedelta(milliseconds=1)
_LATEST = (datetime.max.replace(tzinfo=UTC) - EPOCH) // MILLISECOND
_EARLIEST = (datetime.min.replace(tzinfo=UTC) - EPOCH) // MILLISECOND

Instant = int
"""Milliseconds since the Unix epoch, UTC."""

Clock = Callable[[], Instant]
"""Returns the current instant. May step backwards; callers that compare instants must tolerate that."""


def system_clock() -> Instant:
    """Return the current instant of the machine's wall clock."""
    return time.time_ns() // 1_000_000


def running_ms() -> int:
    """Return a monotonic clock in milliseconds, which counts the machine's sleep where the system has such a one."""
    boot_clock = getattr(time, "CLOCK_BOOTTIME", None)
    return (time.monotonic_ns() if boot_clock is None else time.clock_gettime_ns(boot_clock)) // 1_000_000


def to_datetime(instant: int) -> datetime:
    """Return the aware UTC datetime of `instant`.

    Raises:
        ValueError: the instant lies outside the years 1 to 9999.
    """
    if not _EARLIEST <= instant <= _LATEST:
        raise ValueError("an instant must lie within the years 1 to 9999")
    return EPOCH + instant * MILLISECOND


def to_rfc3339(instant: int) -> str:
    """Return the RFC 3339 text of `instant`, such as `2026-01-31T09:30:00.125Z`: UTC, with milliseconds.

    Raises:
        ValueError: the instant lies outside the years 1 to 9999.
    """
    second, millisecond = divmod(instant, 1000)
    return f"{_second(second)}{millisecond:03d}Z"


@lru_cache(maxsize=4096)
def _second(second: int) -> str:
    """Return the text of a whole second up to the decimal point. Replies repeat the same few seconds."""
    return to_datetime(second * 1000).isoformat(timespec="seconds").replace("+00:00", ".")
