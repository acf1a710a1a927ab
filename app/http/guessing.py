"""Guessing: how many failed credentials are borne before failures are answered 429.

Only failures are counted, after the credential was checked: a good one from the same source is always served. The
same wrong credential sent again is hardly a guess and weighs a fifth of a new one; one that was good once, or none at
all, is no guess.
"""

from __future__ import annotations

import ipaddress
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field

from app.domain.errors import AuthRateLimited
from app.http.settings import GuessLimits

SOURCES = 10_000
REMEMBERED = 256
AGAIN = 0.2


@dataclass(slots=True)
class Bucket:
    """A token bucket: `level` guesses are left, refilled by the second."""

    burst: float
    per_second: float
    level: float
    at: float

    def take(self, amount: float, now: float) -> float:
        """Take `amount`; 0.0 when it was there, else the seconds until it will be."""
        self.level = min(self.burst, self.level + (now - self.at) * self.per_second)
        self.at = now
        if self.level >= amount:
            self.level -= amount
            return 0.0
        return (amount - self.level) / self.per_second if self.per_second > 0 else 3600.0


@dataclass(slots=True)
class _Source:
    bucket: Bucket
    notes: Bucket
    tried: OrderedDict[str, None] = field(default_factory=OrderedDict[str, None])

    def weight(self, fingerprint: str) -> float:
        if fingerprint in self.tried:
            return AGAIN
        self.tried[fingerprint] = None
        if len(self.tried) > REMEMBERED:
            self.tried.popitem(last=False)
        return 1.0


class Guesses:
    """Counts failures per source and in all. Memory is bounded: the source that was quiet longest is forgotten."""

    def __init__(self, limits: GuessLimits, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._limits = limits
        self._clock = clock
        self._sources: OrderedDict[str, _Source] = OrderedDict()
        self._all = Bucket(limits.burst_in_all, limits.in_all_per_second, limits.burst_in_all, clock())

    def failed(self, source: str, fingerprint: str) -> None:
        """Count one guess. Raises AuthRateLimited when there were too many."""
        now = self._clock()
        known = self._source(source, now)
        weight = known.weight(fingerprint)
        wait = known.bucket.take(weight, now) or self._all.take(weight, now)
        if wait:
            raise AuthRateLimited(wait)

    def noted(self, source: str) -> bool:
        """Whether one more failure of this source may fill a row of the audit log."""
        now = self._clock()
        return not self._source(source, now).notes.take(1.0, now)

    def _source(self, name: str, now: float) -> _Source:
        known = self._sources.get(name)
        if known is None:
            known = self._sources[name] = _Source(self._bucket(now), self._bucket(now))
            if len(self._sources) > SOURCES:
                self._sources.popitem(last=False)
        self._sources.move_to_end(name)
        return known

    def _bucket(self, now: float) -> Bucket:
        burst = self._limits.burst_per_source
        return Bucket(burst, self._limits.per_source_per_second, burst, now)


def source_of(client: tuple[str, int] | None) -> str:
    """Who is counted as one: an IPv4 address, or the /64 that an IPv6 address lies in."""
    if client is None:
        return "unknown"
    host = client[0]
    if ":" not in host:
        return host
    try:
        return str(ipaddress.ip_network((host.partition("%")[0], 64), strict=False))
    except ValueError:
        return host
