"""When a failed call is sent again, and how long to wait before: pure decisions, no clock and no socket."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime

import httpx

_NOT_EXECUTED = frozenset({429, 503})
_NO_WORD_FROM_THE_SERVER = frozenset({502, 504})
_HUMAN_DECISIONS = frozenset({"loop-paused"})
_NEVER_SENT = (httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout)


@dataclass(frozen=True, slots=True, kw_only=True)
class Failure:
    """One failed try. `maybe_done` says that the server may have acted; `hint` is its Retry-After."""

    passing: bool
    maybe_done: bool
    hint: timedelta | None = None

    @classmethod
    def of_reply(cls, status: int, code: str, hint: timedelta | None, *, unsure: bool = False) -> Failure:
        """What a refusal means: 429 and 503 promise that nothing was done, a gateway's word promises nothing.

        Nor does a server that is itself `unsure`, because its database broke in the middle of a commit.
        """
        if status in _NO_WORD_FROM_THE_SERVER:
            return cls(passing=True, maybe_done=True, hint=hint)
        return cls(passing=status in _NOT_EXECUTED and code not in _HUMAN_DECISIONS, maybe_done=unsure, hint=hint)

    @classmethod
    def of_error(cls, error: httpx.TransportError) -> Failure:
        """What a broken connection means: only one that never opened is sure to have done nothing."""
        passing = not isinstance(error, httpx.UnsupportedProtocol)
        return cls(passing=passing, maybe_done=not isinstance(error, _NEVER_SENT))


@dataclass(frozen=True, slots=True, kw_only=True)
class Patience:
    """How long and how often to try. Pauses double from `first` to `longest`, spread by ± `jitter` of each."""

    total: timedelta = timedelta(seconds=30)
    first: timedelta = timedelta(milliseconds=100)
    longest: timedelta = timedelta(seconds=5)
    jitter: float = 0.2

    def backoff(self, failures: int, *, spread: float) -> timedelta:
        """The pause after `failures` (from 1) in a row; `spread` in [-1, 1] is the injected randomness."""
        plain = min(self.first * 2 ** min(failures - 1, 32), self.longest)
        return plain * (1 + self.jitter * spread)

    def pause(
        self, failure: Failure, *, repeatable: bool, failures: int, elapsed: timedelta, spread: float
    ) -> timedelta | None:
        """How long to wait before sending the call again; None when it is not to be sent again.

        A call that may have been done is sent again only if it is `repeatable`. The server's hint is a lower bound, and
        a pause that would outlast the patience is not begun.
        """
        if not failure.passing or (failure.maybe_done and not repeatable):
            return None
        pause = self.backoff(failures, spread=spread)
        if failure.hint is not None:
            pause = max(pause, failure.hint)
        return pause if elapsed + pause <= self.total else None


def retry_after(headers: Mapping[str, str], *, now: datetime) -> timedelta | None:
    """The Retry-After of a reply (RFC 9110, section 10.2.3): seconds or a date; None when missing or senseless."""
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
