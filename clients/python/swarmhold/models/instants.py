"""Instants and durations: timezone-aware datetimes in Python, RFC 3339 text in UTC on the wire; seconds as numbers."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from typing import Annotated

from pydantic import AfterValidator, BeforeValidator, Field, PlainSerializer, WithJsonSchema

__all__ = ["MAX_SECONDS", "Hold", "Instant", "Seconds", "SessionTtl", "from_rfc3339", "to_rfc3339"]

_RFC3339 = re.compile(
    r"(\d{4}-\d{2}-\d{2})[Tt ](\d{2}:\d{2}:\d{2})(?:\.(\d{1,9})\d*)?([Zz]|[+-]\d{2}:\d{2})",
    re.ASCII,
)

MAX_SECONDS = 3_153_600_000.0
"""A hundred years: the longest duration that a request may name."""


def from_rfc3339(text: str) -> datetime:
    """Return the instant of an RFC 3339 date-time in UTC, cut to milliseconds.

    Raises:
        ValueError: `text` is not an RFC 3339 date-time with an offset, or lies outside the years 1 to 9999.
    """
    match = _RFC3339.fullmatch(text)
    if match is None:
        raise ValueError("an instant is RFC 3339 with an offset, such as 2026-01-31T09:30:00Z")
    day, clock, fraction, offset = match.groups()
    milliseconds = (fraction or "0").ljust(3, "0")[:3]
    try:
        moment = datetime.fromisoformat(f"{day}T{clock}.{milliseconds}{offset.upper().replace('Z', '+00:00')}")
        return moment.astimezone(UTC)
    except (ValueError, OverflowError) as error:
        raise ValueError(f"no such instant: {error}") from None


def to_rfc3339(instant: datetime) -> str:
    """Return `2026-01-31T09:30:00.125Z`: always UTC, always three digits of milliseconds."""
    return instant.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _read(value: object) -> datetime:
    if isinstance(value, datetime):
        if value.tzinfo is None:
            raise ValueError("an instant needs a time zone, such as datetime.now(UTC)")
        return value
    if not isinstance(value, str):
        raise ValueError("an instant is RFC 3339 text, such as 2026-01-31T09:30:00Z")
    return from_rfc3339(value)


Instant = Annotated[
    datetime,
    BeforeValidator(_read),
    PlainSerializer(to_rfc3339, return_type=str, when_used="json"),
    WithJsonSchema({"type": "string", "format": "date-time"}),
]
"""An instant with its time zone; text on the wire, where a bare number could be seconds or milliseconds."""

_at_least_a_millisecond = AfterValidator(lambda seconds: max(seconds, 0.001))

Seconds = Annotated[float, Field(strict=True, gt=0, le=MAX_SECONDS, allow_inf_nan=False), _at_least_a_millisecond]
"""A duration in seconds, more than 0; one below a millisecond counts as a millisecond."""

SessionTtl = Annotated[float, Field(strict=True, gt=0, le=315_360_000, allow_inf_nan=False), _at_least_a_millisecond]
"""How long a session lives, in seconds: ten years at most; one below a millisecond counts as a millisecond."""

Hold = Annotated[float, Field(strict=True, ge=0, le=MAX_SECONDS, allow_inf_nan=False)]
"""How long to hold a poll, in seconds; 0 is a snapshot."""
