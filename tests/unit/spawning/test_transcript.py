"""What a program's output means, however it is cut into pieces."""

import time
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.domain.json import Json
from app.domain.limits import Limits
from app.domain.outputs import Final, OutputEvent
from app.spawning.processes.transcript import OutputTooLong, Transcript


def read(output: bytes, *, cuts: tuple[int, ...] = ()) -> tuple[list[OutputEvent], Transcript]:
    """Events and transcript of an output that comes in pieces."""
    transcript = Transcript(limit_bytes=10_000)
    edges = [0, *sorted(cuts), len(output)]
    events = [event for start, end in pairwise(edges) for event in transcript.feed(output[start:end])]
    return [*events, *transcript.close()], transcript


def good(value: Any) -> Final:
    """A Final that is ok."""
    return Final(value=Json.of(value), ok=True)


@pytest.mark.parametrize(
    ("output", "final"),
    [
        (b"", None),
        (b" \n\n", None),
        (b"hello\nworld \n\n", good("hello\nworld")),
        (b'{"a": [1,\n 2]}\n', good({"a": [1, 2]})),
        (b'{"a": 1}\n{"b": 2}\n', good('{"a": 1}\n{"b": 2}')),
        (b"42", good(42)),
        (b'"text"\n', good("text")),
        (b"null\n", good(None)),
        (b"\xff\xfe", good("\ufffd\ufffd")),
        (b'{"type": "task"}', good({"type": "task"})),
        (b"NaN", good("NaN")),
        ("naïve\r\n".encode(), good("naïve")),
    ],
)
def test_documents_and_text(output: bytes, final: Final | None) -> None:
    """A whole JSON document is its value, anything else the text without white space at its end."""
    events, transcript = read(output)

    assert (events, transcript.final, transcript.explicit) == ([], final, False)


def test_events_line_by_line() -> None:
    """Events come out as their lines are complete; the first Final counts; blank lines are skipped."""
    transcript = Transcript(limit_bytes=10_000)
    assert transcript.feed(b'\n{"type":"progress","stage":"a","note":"n"}\n{"type":"par') == [
        OutputEvent.progress("a", "n")
    ]
    assert transcript.feed(b'tial","chunk":[1]}\n\n') == [OutputEvent.partial([1])]
    assert transcript.feed(b'{"type":"final","content":{"kind":"inline","value":1},"ok":false}\n') == []
    assert transcript.feed(b'{"type":"final","content":{"kind":"inline","value":2},"ok":true}') == []
    assert transcript.close() == []
    assert transcript.final == Final(value=Json.of(1), ok=False)
    assert transcript.explicit
    assert transcript.malformed is None


def test_an_artifact_and_a_final_that_refer_to_files() -> None:
    """References stay references."""
    events, transcript = read(
        b'{"type":"artifact","name":"r","content":{"kind":"file_ref","path":"r.txt","mime":"text/plain"}}\n'
        b'{"type":"final","content":{"kind":"file_ref","path":"f.txt"}}\n'
    )

    assert [event.body.value for event in events] == [
        {"name": "r", "content": {"kind": "file_ref", "path": "r.txt", "mime": "text/plain"}}
    ]
    assert transcript.final == good({"kind": "file_ref", "path": "f.txt"})


@pytest.mark.parametrize(
    "line",
    [
        b"Traceback",
        b"[1]",
        b'{"type":"progress"}',
        b'{"type":"final","content":5,"ok":true}',
        b'{"type":"final","content":{"kind":"inline","value":1},"ok":"yes"}',
        b'{"type":"artifact","name":"","content":{"kind":"inline","value":1}}',
        b'{"type":["final"]}',
    ],
)
def test_a_line_among_events_that_is_none_is_named(line: bytes) -> None:
    """It is skipped, and the trouble says which line it was."""
    events, transcript = read(b'{"type":"progress","stage":"a"}\n' + line + b'\n{"type":"progress","stage":"b"}\n')

    assert events == [OutputEvent.progress("a"), OutputEvent.progress("b")]
    assert transcript.malformed == "line 2 of its output is not an output event"
    assert transcript.final is None


def test_more_than_the_limit_is_refused() -> None:
    """The limit counts everything, in lines or not."""
    transcript = Transcript(limit_bytes=10)
    transcript.feed(b"12345\n1234")
    with pytest.raises(OutputTooLong):
        transcript.feed(b"5")


EVENTS = (
    b'\n{"type":"progress","stage":"a"}\n{"type":"partial","chunk":"\xc3\xa9"}\r\n'
    b'nonsense\n{"type":"final","content":{"kind":"inline","value":{"k":1}},"ok":true}'
)


@given(st.lists(st.integers(0, len(EVENTS))))
def test_pieces_do_not_matter(cuts: list[int]) -> None:
    """Wherever the output is cut, even inside a character, the meaning is the same."""
    events, transcript = read(EVENTS, cuts=tuple(cuts))

    assert events == [OutputEvent.progress("a"), OutputEvent.partial("é")]
    assert transcript.final == good({"k": 1})
    assert transcript.malformed == "line 4 of its output is not an output event"


MANY = Limits(values=10, digits=400)


def read_within(output: bytes) -> tuple[list[OutputEvent], Transcript]:
    """Events and transcript of an output that may hold ten values."""
    transcript = Transcript(limit_bytes=100_000, limits=MANY)
    return [*transcript.feed(output), *transcript.close()], transcript


@pytest.mark.parametrize(
    "output", [b"[" + b"[]," * 20 + b"[]]", b"[\n" + b"[],\n" * 20 + b"[]]\n", b'{"n": ' + b"9" * 500 + b"}"]
)
def test_a_document_beyond_the_limits_is_no_result(output: bytes) -> None:
    """Nothing is built from it, and the trouble names the limit."""
    events, transcript = read_within(output)

    assert (events, transcript.final) == ([], None)
    assert transcript.malformed is not None
    assert "its output is too large: What was sent exceeds the limit limits." in transcript.malformed


@pytest.mark.parametrize("output", ["1,2,3," * 10, "[note] a, b, c, " * 10, "{" * 50, "x" * 5000])
def test_text_has_no_limit_of_values(output: str) -> None:
    """What is no JSON is text, however much it looks like many values."""
    _, transcript = read_within(output.encode())

    assert transcript.final == good(output.rstrip())


def test_what_is_nested_too_deep_to_be_stored_is_text() -> None:
    """No exception gets out."""
    _, transcript = read(b"[" * 300 + b"]" * 300)

    assert transcript.final == good("[" * 300 + "]" * 300)


def test_a_line_beyond_the_limits_is_named() -> None:
    """Be it the first; other events and the Final count."""
    long = b'{"type":"partial","chunk":[' + b"0," * 20 + b"0]}\n"
    final = b'{"type":"final","content":{"kind":"inline","value":1}}\n'
    for before in (b"", b'{"type":"progress","stage":"a"}\n'):
        events, transcript = read_within(before + long + final)
        assert len(events) == bool(before)
        assert transcript.final == good(1)
        assert transcript.malformed is not None
        assert "is too large: What was sent exceeds the limit limits.values of 10" in transcript.malformed


def test_blank_lines_are_looked_at_once() -> None:
    """Megabytes of them before the first line cost no more than reading them."""
    transcript = Transcript(limit_bytes=20_000_000)
    begin = time.process_time()
    for _ in range(100):
        assert transcript.feed(b"\n" * 64_000) == []
    assert transcript.feed(b'{"type":"progress","stage":"a"}\nnonsense\n') == [OutputEvent.progress("a")]
    assert time.process_time() - begin < 2
    assert transcript.malformed == "line 6400002 of its output is not an output event"
