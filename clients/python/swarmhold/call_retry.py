"""Retries of failed calls: whether and after which delay one is sent again, decided without clock or socket."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime

import httpx

_NOT_EXECUTED = frozenset({429, 503})
_GATEWAY = frozenset({502, 504})
_HUMAN_DECISIONS = frozenset({"loop-paused"})
_NEVER_SENT = (httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout)

TRANSIENT_STATUSES = _NOT_EXECUTED | _GATEWAY | {500}
"""Statuses after which a loop that is to run for ever goes on."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Failure:
    """One failed try. `may_have_run`: the server may have acted on it; `retry_after` is what its reply asks for."""

    transient: bool
    may_have_run: bool
    retry_after: timedelta | None = None

    @classmethod
    def of_reply(cls, status: int, code: str, retry_after: timedelta | None, *, unsure: bool = False) -> Failure:
        """Classify a refusal: 429 and 503 promise that nothing was done, a gateway's reply promises nothing.

        Nor does a server that is itself `unsure`, because its database failed in the middle of a commit.
        """
        if status in _GATEWAY:
            return cls(transient=True, may_have_run=True, retry_after=retry_after)
        # A quota that does not clear by waiting comes without Retry-After.
        lasting = code in _HUMAN_DECISIONS or (code == "quota-exceeded" and retry_after is None)
        transient = status in _NOT_EXECUTED and not lasting
        return cls(transient=transient, may_have_run=unsure, retry_after=retry_after)

    @classmethod
    def of_error(cls, error: httpx.TransportError) -> Failure:
        """Classify a broken connection: only one that never opened is sure to have done nothing."""
        transient = not isinstance(error, httpx.UnsupportedProtocol)
        return cls(transient=transient, may_have_run=not isinstance(error, _NEVER_SENT))


@dataclass(frozen=True, slots=True, kw_only=True)
class CallRetry:
    """A retry policy: how long and how often a call is retried that failed on a busy or absent server.

    Delays double from `initial_backoff` to `max_backoff`, each with ± `jitter` of itself; no delay begins that would
    end after `timeout`, in which the time for which a long poll was parked does not count. (When the server itself
    repeats a task's attempts is a task's `Retry`.)
    """

    timeout: timedelta = timedelta(seconds=30)
    initial_backoff: timedelta = timedelta(milliseconds=100)
    max_backoff: timedelta = timedelta(seconds=5)
    jitter: float = 0.2

    def backoff(self, failures: int, *, random: float) -> timedelta:
        """Return the delay after `failures` (from 1) in a row; `random` in [-1, 1] is the injected randomness."""
        plain = min(self.initial_backoff * 2 ** min(failures - 1, 32), self.max_backoff)
        return plain * (1 + self.jitter * random)

    def delay(
        self, failure: Failure, *, repeatable: bool, failures: int, elapsed: timedelta, random: float
    ) -> timedelta | None:
        """Return how long to wait before sending the call again; None when it is not to be sent again.

        A call that may have run is sent again only if it is `repeatable`. The server's Retry-After is a lower bound.
        """
        if not failure.transient or (failure.may_have_run and not repeatable):
            return None
        delay = self.backoff(failures, random=random)
        if failure.retry_after is not None:
            delay = max(delay, failure.retry_after)
        return delay if elapsed + delay <= self.timeout else None


def retry_after(headers: Mapping[str, str], *, now: datetime) -> timedelta | None:
    """Return the Retry-After of a reply (RFC 9110, section 10.2.3): seconds or a date; None without a usable one."""
    text = headers.get("retry-after", "").strip()
    if text.isascii() and text.isdigit():
        return timedelta(seconds=min(int(text[:10]), 10**8))
    try:
        at = parsedate_to_datetime(text)
    except ValueError:
        return None
    if at.tzinfo is None:
        at = at.replace(tzinfo=UTC)
    return max(at - now, timedelta(0))
