from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from app.domain import clock
from swarmhold.models.instants import from_rfc3339, to_rfc3339
from swarmhold.models.questions import QuestionRequest
from swarmhold.models.server import LoopState

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


@given(st.integers(min_value=-62_135_596_800_000, max_value=253_402_300_799_999))
def test_an_instant_survives_its_text(milliseconds: int) -> None:
    """Every millisecond of the years 1 to 9999 reads back as itself, and looks as the server writes it."""
    instant = EPOCH + timedelta(milliseconds=milliseconds)
    assert from_rfc3339(to_rfc3339(instant)) == instant
    assert to_rfc3339(instant) == clock.to_rfc3339(milliseconds)


def test_the_text_is_utc_with_milliseconds() -> None:
    """The wire shows one spelling only, whatever the zone and the precision of the datetime."""
    assert to_rfc3339(EPOCH) == "1970-01-01T00:00:00.000Z"
    there = datetime(2026, 1, 31, 10, 30, 0, 125_999, tzinfo=timezone(timedelta(hours=1)))
    assert to_rfc3339(there) == "2026-01-31T09:30:00.125Z"


@pytest.mark.parametrize(
    ("text", "milliseconds"),
    [
        ("1970-01-01T00:00:01Z", 1000),
        ("1970-01-01t00:00:01z", 1000),
        ("1970-01-01T01:00:01+01:00", 1000),
        ("1969-12-31T23:30:00-00:30", 0),
        ("1970-01-01T00:00:00.5Z", 500),
        ("1970-01-01T00:00:00.1239999Z", 123),
        ("1969-12-31T23:59:59.999Z", -1),
    ],
)
def test_every_spelling_of_rfc3339_is_read(text: str, milliseconds: int) -> None:
    """Offsets, small letters and other numbers of digits are legal; finer digits are cut off; the result is UTC."""
    instant = from_rfc3339(text)
    assert instant == EPOCH + timedelta(milliseconds=milliseconds)
    assert instant.utcoffset() == timedelta(0)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "tomorrow",
        "2026-01-31",
        "2026-01-31T09:30:00",
        "2026-01-31T09:30Z",
        "20260131T093000Z",
        "2026-02-30T00:00:00Z",
        "2026-01-31T24:30:00Z",
        "2026-01-31T09:30:00+25:00",
        "0001-01-01T00:00:00+23:59",
        "2026-01-31T09:30:00Z\n",
        "٢٠٢٦-01-31T09:30:00Z",
    ],
)
def test_what_is_not_an_instant_is_refused(text: str) -> None:
    """Dates, local times, ISO 8601's other forms and impossible days raise ValueError, and nothing else."""
    with pytest.raises(ValueError, match="instant"):
        from_rfc3339(text)


def test_a_reply_holds_datetimes_and_writes_text() -> None:
    """The zone of a datetime that Python gave is kept until it is written."""
    built = LoopState(paused=True, by="ann", since=EPOCH + timedelta(seconds=1))
    assert built.model_dump(mode="json")["since"] == "1970-01-01T00:00:01.000Z"
    assert LoopState.model_validate_json(built.model_dump_json()) == built


@pytest.mark.parametrize("since", [1000, 1.5, True, datetime(2026, 1, 31), ""])  # noqa: DTZ001 - the point of the test
def test_what_names_no_one_moment_is_refused(since: object) -> None:
    """A bare number could be seconds or milliseconds, and a datetime without a zone could be any of many moments."""
    with pytest.raises(ValidationError, match="instant"):
        LoopState.model_validate({"paused": True, "by": "ann", "since": since})


@pytest.mark.parametrize("deadline", [1000, 1000.0, True, "1000", None])
def test_a_request_takes_text_only(deadline: object) -> None:
    """Null is as good as absent, and `block` needs a deadline."""
    with pytest.raises(ValidationError):
        QuestionRequest.model_validate({"question": "?", "on_deadline": "block", "deadline": deadline})
