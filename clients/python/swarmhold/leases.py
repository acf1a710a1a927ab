"""When to renew a lease, reckoned in the server's time though only the own clock is at hand."""

from __future__ import annotations

from datetime import timedelta
from email.utils import parsedate_to_datetime

from swarmhold.models.instants import from_datetime

_SHORTEST = timedelta(milliseconds=50)
_DATE_RESOLUTION_MS = 2_000


def clock_skew_ms(date_header: str | None, *, local_now: int) -> int:
    """How far the server's clock is ahead. A Date header counts whole seconds, so less than two are taken as none."""
    if date_header is None:
        return 0
    try:
        skew = from_datetime(parsedate_to_datetime(date_header)) - local_now
    except ValueError:
        return 0
    return 0 if abs(skew) < _DATE_RESOLUTION_MS else skew


def renewal_pause(expires_at: int | None, *, server_now: int, longest: timedelta) -> timedelta:
    """A third of what is left of the lease, so that two renewals may fail; `longest` when there is no lease."""
    if expires_at is None:
        return longest
    return max(_SHORTEST, min(longest, timedelta(milliseconds=expires_at - server_now) / 3))
