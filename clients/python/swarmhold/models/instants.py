"""Instants: integer milliseconds since the Unix epoch inside, RFC 3339 UTC text on the wire."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from typing import Annotated

from pydantic import BeforeValidator, Field, PlainSerializer, WithJsonSchema

__all__ = [
    "MAX_SECONDS",
    "Hold",
    "Instant",
    "InstantText",
    "Seconds",
    "from_datetime",
    "from_rfc3339",
    "to_datetime",
    "to_rfc3339",
]

_RFC3339 = re.compile(
    r"(\d{4}-\d{2}-\d{2})[Tt ](\d{2}:\d{2}:\d{2})(?:\.(\d{1,9})\d*)?([Zz]|[+-]\d{2}:\d{2})",
    re.ASCII,
)

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MILLISECOND = timedelta(milliseconds=1)
_LATEST = (datetime.max.replace(tzinfo=UTC) - _EPOCH) // _MILLISECOND
_EARLIEST = (datetime.min.replace(tzinfo=UTC) - _EPOCH) // _MILLISECOND

MAX_SECONDS = 3_153_600_000.0
"""A hundred years: the longest duration that a request may name."""


def to_datetime(instant: int) -> datetime:
    """The aware UTC datetime of `instant`.

    Raises:
        ValueError: the instant lies outside the years 1 to 9999.
    """
    if not _EARLIEST <= instant <= _LATEST:
        raise ValueError("an instant must lie within the years 1 to 9999")
    return _EPOCH + instant * _MILLISECOND


def to_rfc3339(instant: int) -> str:
    """`2026-01-31T09:30:00.125Z`: always UTC, always three digits of milliseconds."""
    return to_datetime(instant).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def from_datetime(moment: datetime) -> int:
    """Milliseconds since the epoch of an aware `moment`, rounded down.

    Raises:
        ValueError: `moment` has no time zone.
    """
    if moment.tzinfo is None:
        raise ValueError("an instant needs a time zone")
    return (moment - _EPOCH) // _MILLISECOND


def from_rfc3339(text: str) -> int:
    """Milliseconds since the epoch of an RFC 3339 date-time, finer digits cut off.

    Raises:
        ValueError: `text` is not an RFC 3339 date-time with an offset.
    """
    match = _RFC3339.fullmatch(text)
    if match is None:
        raise ValueError("an instant is RFC 3339 with an offset, such as 2026-01-31T09:30:00Z")
    day, clock, fraction, offset = match.groups()
    try:
        seconds = datetime.fromisoformat(f"{day}T{clock}{offset.upper().replace('Z', '+00:00')}")
    except ValueError as error:
        raise ValueError(f"no such instant: {error}") from None
    whole = from_datetime(seconds)
    to_datetime(whole)
    return whole + int((fraction or "0").ljust(3, "0")[:3])


def _read(value: object) -> int:
    if isinstance(value, datetime):
        return from_datetime(value)
    if isinstance(value, int) and not isinstance(value, bool):
        return value
    return _read_text(value)


def _read_text(value: object) -> int:
    if not isinstance(value, str):
        raise ValueError("an instant is RFC 3339 text, such as 2026-01-31T09:30:00Z")
    return from_rfc3339(value)


_AS_TEXT = PlainSerializer(to_rfc3339, return_type=str, when_used="json")
_DESCRIBED = WithJsonSchema({"type": "string", "format": "date-time"})

Instant = Annotated[int, BeforeValidator(_read), _AS_TEXT, _DESCRIBED]
"""An instant in an answer: text on the wire, milliseconds in Python; built from either."""

InstantText = Annotated[int, BeforeValidator(_read_text), _AS_TEXT, _DESCRIBED]
"""An instant in a request: only text is taken."""

Seconds = Annotated[float, Field(strict=True, gt=0, le=MAX_SECONDS, allow_inf_nan=False)]
"""A duration in seconds, longer than nothing."""

Hold = Annotated[float, Field(strict=True, ge=0, le=MAX_SECONDS, allow_inf_nan=False)]
"""How long to hold a poll, in seconds; 0 is a snapshot."""
