"""A limit on how often one log message is written, so that a client that provokes a line cannot fill a disk with it."""

from __future__ import annotations

import threading
from collections.abc import Callable
from time import monotonic

BURST = 100
PER_SECOND = 10.0
MAX_MESSAGES = 1000
"""How many distinct messages have a bucket of their own; later ones share one."""

_OTHERS = ""


class LineLimit:
    """A token bucket for each message. Thread-safe."""

    def __init__(
        self, *, burst: int = BURST, per_second: float = PER_SECOND, clock: Callable[[], float] = monotonic
    ) -> None:
        self._burst = burst
        self._per_second = per_second
        self._clock = clock
        self._lock = threading.Lock()
        self._buckets: dict[str, tuple[float, float, int]] = {}
        self._suppressed = 0

    @property
    def suppressed(self) -> int:
        """Return how many lines were refused since the process started."""
        return self._suppressed

    def admit(self, message: str) -> int | None:
        """Take one line of this message: None when it is over the limit, else how many before it were refused."""
        now = self._clock()
        with self._lock:
            if message not in self._buckets and len(self._buckets) >= MAX_MESSAGES:
                message = _OTHERS
            room, at, refused = self._buckets.get(message, (float(self._burst), now, 0))
            room = min(float(self._burst), room + (now - at) * self._per_second)
            if room < 1.0:
                self._suppressed += 1
                self._buckets[message] = (room, now, refused + 1)
                return None
            self._buckets[message] = (room - 1.0, now, 0)
            return refused
