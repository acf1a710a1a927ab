"""Instants and durations are read as people write them."""

from datetime import UTC, datetime, timedelta, timezone

import pytest

from app.cli.exits import CommandFailed
from app.cli.instants import duration, instant

ZONE = timezone(timedelta(hours=2))
NOW = datetime(2026, 11, 28, 23, 30, tzinfo=ZONE)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("now", "2026-11-28T21:30:00Z"),
        ("in 2h", "2026-11-28T23:30:00Z"),
        ("In 1 hour 30 min", "2026-11-28T23:00:00Z"),
        ("2 days ago", "2026-11-26T21:30:00Z"),
        ("tomorrow 14:00", "2026-11-29T12:00:00Z"),
        ("yesterday", "2026-11-26T22:00:00Z"),
        ("09:05:30", "2026-11-28T07:05:30Z"),
        ("2026-12-01", "2026-11-30T22:00:00Z"),
        ("2026-12-01 14:00", "2026-12-01T12:00:00Z"),
        ("2026-12-01T14:00Z", "2026-12-01T14:00:00Z"),
        ("2026-12-01T14:00:00-05:00", "2026-12-01T19:00:00Z"),
    ],
)
def test_an_instant(text: str, expected: str) -> None:
    """A time without a zone is the reader's own, a day alone its beginning."""
    found = instant(text, now=NOW, zone=ZONE)
    assert (found, found.tzinfo) == (datetime.fromisoformat(expected), UTC)


@pytest.mark.parametrize("text", ["", "soon", "in", "in two hours", "tomorrow noon", "25:00", "2026-13-01", "in 9e9w"])
def test_no_instant(text: str) -> None:
    """The message shows how one is written."""
    with pytest.raises(CommandFailed, match="tomorrow 14:00"):
        instant(text, now=NOW, zone=ZONE)


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("90", 90), ("1.5", 1.5), ("45s", 45), ("1h30m", 5400), ("7 days", 604_800), ("2w", 1_209_600)],
)
def test_a_duration(text: str, seconds: float) -> None:
    """Seconds, or numbers with units."""
    assert duration(text) == timedelta(seconds=seconds)


@pytest.mark.parametrize("text", ["", "0", "-1", "h", "5 parsecs", "1h and 5m"])
def test_no_duration(text: str) -> None:
    """Nothing, less than nothing, and words."""
    with pytest.raises(CommandFailed, match="1h30m"):
        duration(text)
