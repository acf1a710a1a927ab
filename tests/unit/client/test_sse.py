from __future__ import annotations

from datetime import UTC, datetime
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from swarmhold.events import Message, SseParser, read_message
from swarmhold.models.events import Event, Lagged

STREAM = (
    "\ufeff: hello\n\n"
    'event: task_pass\nid: 1\ndata: {"a":\ndata: 1}\n\n'
    "id: 2\r\ndata:no blank\r\n\r\n"
    "data\rdata: ü✓\r\r"
    "event: nothing\n\n"
    "retry: 5\nid: bad\0id\ndata: kept\n\n"
    "data: unfinished"
).encode()
MESSAGES = [
    Message("task_pass", '{"a":\n1}', "1"),
    Message("message", "no blank", "2"),
    Message("message", "\nü✓", "2"),
    Message("message", "kept", "2"),
]


def test_a_stream_in_one_piece() -> None:
    """Comments, several data lines, all three line ends, a byte order mark, an id with NUL, an unfinished end."""
    assert SseParser().feed(STREAM) == MESSAGES


@given(st.lists(st.integers(min_value=0, max_value=len(STREAM))))
def test_a_stream_cut_anywhere(cuts: list[int]) -> None:
    """The same messages, also when a cut falls inside a character or a CRLF."""
    edges = [0, *sorted(cuts), len(STREAM)]
    parser = SseParser()
    received = [message for a, b in pairwise(edges) for message in parser.feed(STREAM[a:b])]
    assert received == MESSAGES


def test_a_message_becomes_an_event() -> None:
    """Kind and cursor come from the frame unless the data says them."""
    event = read_message(Message("task_pass", '{"at":"1970-01-01T00:00:01Z","task_id":"T-0"}', "17"))
    assert isinstance(event, Event)
    assert (event.kind, event.cursor, event.task_id) == ("task_pass", "17", "T-0")
    assert event.at == datetime(1970, 1, 1, 0, 0, 1, tzinfo=UTC)


def test_lagged_has_a_type_of_its_own() -> None:
    """A reader that fell behind learns from where it goes on."""
    assert read_message(Message("lagged", '{"cursor":9}', "9")) == Lagged(cursor=9)


@pytest.mark.parametrize("data", ["", "not json", "[]", "3", "{}"])
def test_an_unreadable_message_is_skipped(data: str) -> None:
    """It ends neither the feed nor the reader."""
    assert read_message(Message("task_pass", data, "1")) is None
