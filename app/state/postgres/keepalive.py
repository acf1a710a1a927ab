"""TCP keepalive settings of connections to PostgreSQL, for both ends.

A host that loses power closes no connection. By default an operating system notices after two hours, and the lock of
a dead server would be held as long; so both ends probe each other and give up within `timeout`.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta

MIN_TIMEOUT = timedelta(seconds=6)
_PROBES = 3


@dataclass(frozen=True, slots=True)
class Keepalive:
    """After how long without a packet a connection is dead: at least `MIN_TIMEOUT`.

    The first half of `timeout` passes without probes; the second half is divided among three.
    """

    timeout: timedelta = timedelta(seconds=30)

    def options(self) -> dict[str, int]:
        """Return the settings of this end under libpq's names; unacknowledged data counts as idle time too."""
        idle, interval, user_timeout_ms = self._parts()
        return {
            "keepalives_idle": idle,
            "keepalives_interval": interval,
            "keepalives_count": _PROBES,
            "tcp_user_timeout": user_timeout_ms,
        }

    def statements(self) -> str:
        """Return the settings of PostgreSQL's end as SQL; it ignores them on a local socket, which needs none."""
        idle, interval, user_timeout_ms = self._parts()
        return (
            f"SET tcp_keepalives_idle = {idle:d}; SET tcp_keepalives_interval = {interval:d}; "
            f"SET tcp_keepalives_count = {_PROBES:d}; SET tcp_user_timeout = {user_timeout_ms:d}"
        )

    def _parts(self) -> tuple[int, int, int]:
        seconds = self.timeout.total_seconds()
        return int(seconds / 2), int(seconds / 2 / _PROBES), int(seconds * 1000)
