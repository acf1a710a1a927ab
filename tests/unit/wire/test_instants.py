from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from swarmhold.models.instants import from_datetime, from_rfc3339, to_datetime, to_rfc3339
from swarmhold.models.loops import LoopState
from swarmhold.models.questions import QuestionRequest


@given(st.integers(min_value=-62_135_596_800_000, max_value=253_402_300_799_999))
def test_an_instant_survives_its_text(instant: int) -> None:
    """Every millisecond of the years 1 to 9999 reads back as itself."""
    assert from_rfc3339(to_rfc3339(instant)) == instant


def test_the_text_is_utc_with_milliseconds() -> None:
    """The wire shows one spelling only."""
    assert to_rfc3339(0) == "1970-01-01T00:00:00.000Z"
    assert to_rfc3339(1_769_851_800_125) == "2026-01-31T09:30:00.125Z"


@pytest.mark.parametrize(
    ("text", "instant"),
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
def test_every_spelling_of_rfc3339_is_read(text: str, instant: int) -> None:
    """Offsets, small letters and other numbers of digits are legal; finer digits are cut off."""
    assert from_rfc3339(text) == instant


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


def test_datetimes_convert_both_ways() -> None:
    """Aware datetimes of any zone; naive ones are refused."""
    moment = datetime(2026, 1, 31, 10, 30, tzinfo=timezone(timedelta(hours=1)))
    assert to_datetime(from_datetime(moment)) == moment.astimezone(UTC)
    with pytest.raises(ValueError, match="time zone"):
        from_datetime(datetime(2026, 1, 31))  # noqa: DTZ001 - the point of the test


def test_an_instant_out_of_range_is_a_value_error() -> None:
    """Instants that no date names cannot be written."""
    with pytest.raises(ValueError, match="years"):
        to_rfc3339(10**18)


def test_a_reply_is_built_from_milliseconds_and_read_from_text() -> None:
    """The model holds milliseconds either way and writes text."""
    built = LoopState(paused=True, by="ann", since=1000)
    assert built.model_dump(mode="json")["since"] == "1970-01-01T00:00:01.000Z"
    assert LoopState.model_validate_json(built.model_dump_json()) == built


@pytest.mark.parametrize("deadline", [1000, 1000.0, True, "1000", None])
def test_a_request_takes_text_only(deadline: object) -> None:
    """A bare number could be seconds or milliseconds; null is as good as absent, and `block` needs a deadline."""
    with pytest.raises(ValidationError):
        QuestionRequest.model_validate({"question": "?", "on_deadline": "block", "deadline": deadline})
