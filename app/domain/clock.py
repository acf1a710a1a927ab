"""Time as the domain sees it: whole milliseconds since the Unix epoch, from an injected clock."""

from __future__ import annotations

import time
from collections.abc import Callable

Instant = int
"""Milliseconds since the Unix epoch, UTC."""

Clock = Callable[[], Instant]
"""Returns the present instant. May step backwards; callers that compare instants must bear that."""


def system_clock() -> Instant:
    """The machine's wall clock."""
    return time.time_ns() // 1_000_000
