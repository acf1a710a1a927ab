"""Instants and durations as people write them: `in 2h`, `2h ago`, `tomorrow 14:00`, `2026-12-01`, `90`, `1h30m`."""

from __future__ import annotations

import re
from datetime import UTC, datetime, time, timedelta, tzinfo

from app.cli.exits import EXIT_MISUSED, CommandFailed

_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86_400, "w": 604_800}
_PART = re.compile(r"(\d+(?:\.\d+)?)\s*(seconds?|sec|s|minutes?|min|m|hours?|h|days?|d|weeks?|w)\s*")
_SECONDS = re.compile(r"\d+(\.\d+)?")
_DAYS = {"today": 0, "tomorrow": 1, "yesterday": -1}
_CLOCK = re.compile(r"(\d{1,2}):(\d{2})(?::(\d{2}))?")


def duration(text: str) -> timedelta:
    """Return a positive duration, in seconds (`90`) or with units (`1h30m`, `7 days`). Raises CommandFailed."""
    found = _duration(text.strip().lower())
    if not found:
        raise CommandFailed(f"A duration is written as 90, 45s, 1h30m or 7d, and {text!r} is not.", status=EXIT_MISUSED)
    return found


def instant(text: str, *, now: datetime | None = None, zone: tzinfo | None = None) -> datetime:
    """Return an instant in UTC. A time without a zone is in `zone`, by default this machine's. Raises CommandFailed."""
    here = (now or datetime.now(UTC)).astimezone(zone)
    try:
        found = _instant(" ".join(text.lower().split()), here, zone)
        return (found or _in(datetime.fromisoformat(text.strip()), zone)).astimezone(UTC)
    except (ValueError, OverflowError):
        raise CommandFailed(
            f"An instant is written as 'in 2h', 'tomorrow 14:00' or 2026-12-01T14:00Z, and {text!r} is not.",
            status=EXIT_MISUSED,
        ) from None


def _instant(text: str, here: datetime, zone: tzinfo | None) -> datetime | None:
    if text == "now":
        return here
    if text.startswith("in ") and (ahead := _duration(text[3:])) is not None:
        return here + ahead
    if text.endswith(" ago") and (back := _duration(text[:-4])) is not None:
        return here - back
    day, _, clock = text.partition(" ")
    day, clock = (day, clock or "00:00") if day in _DAYS else ("today", text)
    found = _CLOCK.fullmatch(clock)
    if found is None:
        return None
    hour, minute, second = (int(part or 0) for part in found.groups())
    date = (here + timedelta(days=_DAYS[day])).date()
    return _in(datetime.combine(date, time(hour, minute, second)), zone)


def _in(read: datetime, zone: tzinfo | None) -> datetime:
    if read.tzinfo is not None:
        return read
    return read.astimezone() if zone is None else read.replace(tzinfo=zone)


def _duration(text: str) -> timedelta | None:
    """Return the duration, None where the text is none."""
    if _SECONDS.fullmatch(text):
        return timedelta(seconds=float(text))
    at, seconds = 0, 0.0
    while found := _PART.match(text, at):
        seconds += float(found[1]) * _UNITS[found[2][0]]
        at = found.end()
    return timedelta(seconds=seconds) if text and at == len(text) else None
