"""How long the other end of a connection to PostgreSQL may say nothing before it counts as dead.

A host that loses its power closes no connection. Left to itself an operating system finds out after two hours, and a
server's lock would be held as long; so both ends are told to ask each other, and to give up, within `limit`.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta

SHORTEST = timedelta(seconds=6)
_PROBES = 3


@dataclass(frozen=True, slots=True)
class Silence:
    """The limit, of at least `SHORTEST`: half of it passes in silence, then three probes share the other half."""

    limit: timedelta = timedelta(seconds=30)

    def options(self) -> dict[str, int]:
        """For this end, as libpq names them. What was sent and never acknowledged counts as silence too."""
        idle, interval, unheard_ms = self._parts()
        return {
            "keepalives_idle": idle,
            "keepalives_interval": interval,
            "keepalives_count": _PROBES,
            "tcp_user_timeout": unheard_ms,
        }

    def statements(self) -> str:
        """For PostgreSQL's end, as settings of the session; it ignores them on a local socket, which needs none."""
        idle, interval, unheard_ms = self._parts()
        return (
            f"SET tcp_keepalives_idle = {idle:d}; SET tcp_keepalives_interval = {interval:d}; "
            f"SET tcp_keepalives_count = {_PROBES:d}; SET tcp_user_timeout = {unheard_ms:d}"
        )

    def _parts(self) -> tuple[int, int, int]:
        seconds = self.limit.total_seconds()
        return int(seconds / 2), int(seconds / 2 / _PROBES), int(seconds * 1000)
