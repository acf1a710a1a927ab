"""The clock of a PostgreSQL database, which all nodes have in common."""

from __future__ import annotations

from app.domain.clock import Instant, running_ms, system_clock
from app.state.statements import Connection

_NOW = "SELECT (extract(epoch FROM clock_timestamp()) * 1000)::bigint"


class DatabaseClock:
    """The database's clock as it was measured last, carried on by a monotonic clock of this machine.

    Neither a difference between the machines' wall clocks nor a jump of one of them reaches what nodes decide. Before
    the first measurement it is the machine's own. Any thread may call it.
    """

    def __init__(self) -> None:
        self._ahead_ms = system_clock() - running_ms()

    def __call__(self) -> Instant:
        """Return the current instant."""
        return self._ahead_ms + running_ms()

    def measure(self, db: Connection) -> None:
        """Ask the database for its time; a difference that the round trip may have made changes nothing."""
        before = running_ms()
        shown: Instant = db.query(_NOW, ())[0][0]
        after = running_ms()
        # The database looked at its clock at some moment between the two.
        low, high = shown - after, shown - before
        if not low <= self._ahead_ms <= high:
            self._ahead_ms = (low + high) // 2
