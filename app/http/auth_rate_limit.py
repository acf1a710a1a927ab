"""Failed authentication attempts: one reply for all of them, an audit record, and a rate limit.

Only failures count, after the credential was checked: a valid credential from the same source is always served. A wrong
credential that was sent before counts a fifth of a new one. Expired, revoked and used-up credentials are audited but do
not count; a call without a credential is answered and no more.
"""

from __future__ import annotations

import ipaddress
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field

from starlette.types import Scope

from app.domain.errors import AuthRateLimited, EngineError, Unauthenticated
from app.domain.tokens import fingerprint
from app.engine.engine import Engine
from app.http.auth import credential_text
from app.http.problems import FAILED_CREDENTIAL, UNAUTHENTICATED, ProblemDetails, problem_of
from app.http.settings import AuthRateLimitSettings

MAX_SOURCES = 10_000
MAX_FINGERPRINTS = 256
REPEAT_WEIGHT = 0.2

_COUNTED = frozenset({"unauthenticated", "bad-signature", "token-not-found", "link-not-found"})
"""Codes of credentials that were never valid, and of links, dead ones included."""


@dataclass(slots=True)
class TokenBucket:
    """A token bucket: `level` attempts are left, refilled at `per_second`."""

    burst: float
    per_second: float
    level: float
    updated_at: float

    def take(self, amount: float, now: float) -> float:
        """Take `amount` and return 0.0, or return the seconds until it will be available."""
        self.level = min(self.burst, self.level + (now - self.updated_at) * self.per_second)
        self.updated_at = now
        if self.level >= amount:
            self.level -= amount
            return 0.0
        return (amount - self.level) / self.per_second if self.per_second > 0 else 3600.0


@dataclass(slots=True)
class _Source:
    attempts: TokenBucket
    fingerprints: OrderedDict[str, None] = field(default_factory=OrderedDict[str, None])

    def weight(self, fingerprint: str) -> float:
        if fingerprint in self.fingerprints:
            return REPEAT_WEIGHT
        self.fingerprints[fingerprint] = None
        if len(self.fingerprints) > MAX_FINGERPRINTS:
            self.fingerprints.popitem(last=False)
        return 1.0


class AuthRateLimit:
    """Counts failed attempts per source and overall. Memory is bounded: the least recently seen source is dropped."""

    def __init__(self, limits: AuthRateLimitSettings, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._limits = limits
        self._clock = clock
        self._sources: OrderedDict[str, _Source] = OrderedDict()
        self._overall = TokenBucket(limits.burst_overall, limits.overall_per_second, limits.burst_overall, clock())

    def count_failure(self, source: str, fingerprint: str) -> None:
        """Count one failed attempt. Raises AuthRateLimited when a limit is exceeded."""
        now = self._clock()
        entry = self._source(source, now)
        weight = entry.weight(fingerprint)
        wait_s = entry.attempts.take(weight, now) or self._overall.take(weight, now)
        if wait_s:
            raise AuthRateLimited(wait_s)

    def _source(self, name: str, now: float) -> _Source:
        entry = self._sources.get(name)
        if entry is None:
            entry = self._sources[name] = _Source(self._bucket(now))
            if len(self._sources) > MAX_SOURCES:
                self._sources.popitem(last=False)
        self._sources.move_to_end(name)
        return entry

    def _bucket(self, now: float) -> TokenBucket:
        burst = self._limits.burst_per_source
        return TokenBucket(burst, self._limits.per_source_per_second, burst, now)


class AuthFailures:
    """Answers, counts and audits failed authentication attempts. One per server, shared by HTTP and WebSocket."""

    def __init__(self, engine: Engine, rate_limit: AuthRateLimit) -> None:
        self._engine = engine
        self._rate_limit = rate_limit

    async def problem(self, scope: Scope, error: EngineError) -> ProblemDetails:
        """Return the problem of a failed call. That of a failed credential reveals nothing about it."""
        if error.code not in FAILED_CREDENTIAL:
            return problem_of(error)
        try:
            await self.record(scope, error)
        except AuthRateLimited as too_many:
            return problem_of(too_many)
        return UNAUTHENTICATED

    async def record(self, scope: Scope, error: EngineError, *, credential: str | None = None) -> None:
        """Count and audit a failed credential. Raises AuthRateLimited when a rate limit is exceeded.

        `credential` is the text that was sent, where that is not the Authorization header.
        """
        secret = credential or _sent_credential(scope)
        if secret is None:
            return
        client, mark = scope.get("client"), fingerprint(secret)
        reason = error.reason if isinstance(error, Unauthenticated) else error.code
        self._engine.refusals.count(source=client[0] if client else "unknown", kind=reason, fingerprint=mark)
        if error.code in _COUNTED:
            self._rate_limit.count_failure(source_of(client), mark)


def _sent_credential(scope: Scope) -> str | None:
    try:
        return credential_text(scope)
    except Unauthenticated:
        return None


def source_of(client: tuple[str, int] | None) -> str:
    """Return what counts as one source: an IPv4 address, or the /64 network of an IPv6 address."""
    if client is None:
        return "unknown"
    host = client[0]
    if ":" not in host:
        return host
    try:
        return str(ipaddress.ip_network((host.partition("%")[0], 64), strict=False))
    except ValueError:
        return host
