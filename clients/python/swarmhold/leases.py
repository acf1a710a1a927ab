"""When to renew a lease, reckoned by the server's clock although only the local one is at hand."""

from __future__ import annotations

from datetime import datetime, timedelta
from email.utils import parsedate_to_datetime

_SHORTEST = timedelta(milliseconds=50)
_DATE_RESOLUTION = timedelta(seconds=2)
_NONE = timedelta(0)


def clock_skew(date_header: str | None, *, local_now: datetime) -> timedelta:
    """Return how far the server's clock is ahead of the local one, judged by the Date header of a fresh reply.

    The header counts whole seconds, so a difference of less than two counts as none.
    """
    if date_header is None:
        return _NONE
    try:
        skew = parsedate_to_datetime(date_header) - local_now
    except (ValueError, TypeError):  # no date, or one without its zone
        return _NONE
    return _NONE if abs(skew) < _DATE_RESOLUTION else skew


def renewal_pause(expires_at: datetime | None, *, server_now: datetime, longest: timedelta) -> timedelta:
    """Return a third of what is left of the lease, so that two renewals may fail; `longest` when there is no lease."""
    if expires_at is None:
        return longest
    return max(_SHORTEST, min(longest, (expires_at - server_now) / 3))
