"""Reading bodies and parameters."""

import asyncio
from collections.abc import Iterable
from datetime import timedelta
from typing import Any

import pytest
from starlette.requests import ClientDisconnect

from app.domain.errors import InvalidRequest, PayloadTooLarge
from app.domain.limits import Limits
from app.http import bodies
from app.http.errors import EncodedBody, InvalidBody, MalformedBody, UnsupportedMediaType
from app.http.holds import Drained, Holds
from app.http.parameters import (
    boolean_of,
    hold_of,
    integer_of,
    labels_of,
    limit_of,
    listed_in,
    query_of,
)
from app.http.queries import KnownParameters
from app.http.settings import HttpSettings
from swarmhold.models.sessions import AttachRequest
from swarmhold.models.tasks import StartTaskRequest
from tests.support.waiting import eventually

SETTINGS = HttpSettings()
LIMIT = bodies.SizeLimit("body", 3)


def receiving(parts: Iterable[bytes], *, left: bool = False) -> Any:
    """A `receive` that gives a body in parts; the client may leave instead of ending it."""
    parts = list(parts)
    messages = [
        {"type": "http.request", "body": part, "more_body": left or index < len(parts) - 1}
        for index, part in enumerate(parts)
    ]
    remaining = iter([*messages, {"type": "http.disconnect"}])

    async def receive() -> dict[str, Any]:
        return next(remaining)

    return receive


def scope_with(**headers: str) -> dict[str, Any]:
    """A scope with headers."""
    lines = [(name.replace("_", "-").encode(), value.encode()) for name, value in headers.items()]
    return {"type": "http", "headers": lines, "query_string": b""}


async def test_a_body_is_whole_however_it_is_cut() -> None:
    """In one part or many."""
    assert await bodies.read(scope_with(), receiving([b"abc"]), LIMIT) == b"abc"
    assert await bodies.read(scope_with(), receiving([b"a", b"", b"bc"]), LIMIT) == b"abc"
    assert await bodies.read(scope_with(), receiving([b""]), bodies.SizeLimit("body", 0)) == b""


async def _all_of(receive: Any, count: int) -> None:
    for _ in range(count):
        await receive()


@pytest.mark.parametrize("parts", [[b"abcd"], [b"ab", b"cd"], [b"", b"abcd", b""]])
async def test_a_body_beyond_the_limit_is_refused_as_it_comes(parts: list[bytes]) -> None:
    """Before the rest of it is read."""
    with pytest.raises(PayloadTooLarge) as refused:
        await bodies.read(scope_with(), receiving(parts), LIMIT)
    assert refused.value.fields() == {"what": "body", "limit": 3}

    counted = bodies.limited(scope_with(), receiving(parts), LIMIT)
    with pytest.raises(PayloadTooLarge):
        await _all_of(counted, len(parts))


async def test_a_length_beyond_the_limit_is_refused_at_once() -> None:
    """Nothing of it needs to be read."""
    scope = scope_with(content_length="4")
    with pytest.raises(PayloadTooLarge):
        bodies.limited(scope, receiving([b""]), LIMIT)
    with pytest.raises(PayloadTooLarge):
        await bodies.read(scope, receiving([b"a", b"b"]), LIMIT)


async def test_a_client_that_leaves_in_the_middle_is_noticed() -> None:
    """Half a body is none."""
    with pytest.raises(ClientDisconnect):
        await bodies.read(scope_with(), receiving([b"a"], left=True), LIMIT)


@pytest.mark.parametrize(
    "kind", ["application/json", "APPLICATION/JSON; charset=UTF-8", "", 'application/json;charset="utf-8"']
)
def test_json_is_taken_under_its_name_or_none(kind: str) -> None:
    """In UTF-8."""
    bodies.require_json(scope_with(content_type=kind) if kind else scope_with())
    bodies.require_json(scope_with(content_encoding="identity", content_type="application/json"))


@pytest.mark.parametrize(
    "kind", ["text/plain", "application/json; charset=latin-1", "application/x-www-form-urlencoded", "json"]
)
def test_other_types_are_refused(kind: str) -> None:
    """And the right one is named."""
    with pytest.raises(UnsupportedMediaType) as refused:
        bodies.require_json(scope_with(content_type=kind))
    assert "application/json" in str(refused.value)


@pytest.mark.parametrize("encoding", ["gzip", "br", "deflate, gzip", "GZIP"])
def test_a_compressed_body_is_refused_as_such(encoding: str) -> None:
    """And distinguished from a malformed one."""
    with pytest.raises(EncodedBody) as refused:
        bodies.require_json(scope_with(content_type="application/json", content_encoding=encoding))
    assert refused.value.headers() == {"Accept-Encoding": "identity"}


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"NaN",
        b"[1e9,NaN]",
        b'"\\ud800"',
        b"\xff",
        b"[" * 300 + b"]" * 300,
        b'{"a":' * 201 + b"1" + b"}" * 201,
    ],
)
def test_what_is_no_json_is_malformed(body: bytes) -> None:
    """Nor what is nested deeper than can be written again."""
    with pytest.raises(MalformedBody):
        bodies.decoded(body, Limits(values=1000))


async def test_wide_is_not_deep() -> None:
    """Many small values are fine, and so is the deepest that is allowed."""
    assert len(bodies.decoded(b"[" + b",".join([b"{}"] * 1000) + b"]", Limits(values=1001))) == 1000
    assert bodies.decoded(b"[" * 199 + b"]" * 199, Limits())
    assert (await bodies.json_of(b' { "a" : 1 } ', Limits())).text == '{"a":1}'


def test_complaints_say_where_and_never_what() -> None:
    """A secret in the wrong field is not repeated."""
    with pytest.raises(InvalidBody) as refused:
        bodies.validated(StartTaskRequest, {"agent": "a", "initial_directive": {"shk_secret": 1}, "labels": {"k": 1}})

    assert {error["field"] for error in refused.value.errors} == {"initial_directive", "labels.k"}
    assert "shk_secret" not in str(refused.value.errors)


def test_complaints_speak_of_the_wire() -> None:
    """Not of the language that the server is written in."""
    with pytest.raises(InvalidBody) as refused:
        bodies.validated(AttachRequest, {"operator_id": "o", "ttl": 1, "role": "worker"})
    assert refused.value.errors[0]["message"] == "Input should be 'operator', 'observer' or 'senior'"


@pytest.mark.parametrize(
    ("text", "seconds"), [("0", 0), ("1", 1), ("0.25", 0.25), ("172800", 172800), ("1e2", 100), ("1.5e-3", 0.0015)]
)
def test_holds_are_seconds(text: str, seconds: float) -> None:
    """Whole or broken."""
    assert hold_of(text, SETTINGS) == timedelta(seconds=seconds)


@pytest.mark.parametrize(
    "text", ["", " 1", "-1", "+1", "1 ", "x", "nan", "inf", "1e999", "172801", "1_0", "٣", "0x1", "1e"]
)
def test_other_holds_are_refused(text: str) -> None:
    """The error names the limit."""
    with pytest.raises(InvalidRequest) as refused:
        hold_of(text, SETTINGS)
    assert "172800" in str(refused.value)


def test_defaults() -> None:
    """Fifty seconds, fifty items, and what the route says."""
    assert hold_of(None, SETTINGS) == timedelta(seconds=50)
    assert hold_of(None, SETTINGS, default=timedelta(0)) == timedelta(0)
    assert limit_of(None, SETTINGS) == 50
    assert (integer_of(None, "n"), boolean_of(None, "ok", default=True), labels_of(None)) == (None, True, ())


def test_parameters_are_read_strictly() -> None:
    """One way to write each."""
    assert (integer_of("0", "n"), integer_of("12", "n")) == (0, 12)
    assert [boolean_of(text, "ok", default=False) for text in ("true", "1", "false", "0")] == [True, True, False, False]
    assert labels_of(["a:b", "a:b:c", "a:"]) == (("a", "b"), ("a", "b:c"), ("a", ""))
    for call in (
        lambda: integer_of("-1", "n"),
        lambda: integer_of("1.0", "n"),
        lambda: integer_of("9" * 19, "n"),
        lambda: boolean_of("yes", "ok", default=True),
        lambda: boolean_of("", "ok", default=True),
        lambda: labels_of(["a"]),
        lambda: labels_of([":b"]),
        lambda: limit_of(0, SETTINGS),
        lambda: limit_of(201, SETTINGS),
    ):
        with pytest.raises(InvalidRequest):
            call()


@pytest.mark.parametrize(
    ("raw", "query"),
    [(b"", {}), (b"a=1&b=", {"a": "1", "b": ""}), (b"a=1&a=2", {"a": "2"}), (b"a=%C3%A9+x", {"a": "é x"})],
)
def test_queries(raw: bytes, query: dict[str, str]) -> None:
    """Of a parameter that is given twice, the last counts."""
    assert query_of({"query_string": raw}) == query


@pytest.mark.parametrize(
    ("raw", "kept"),
    [
        (b"hold=&since=3&cursor=", b"since=3"),
        (b"cursor=", b""),
        (b"label=a:", b"label=a:"),
        (b"label=a:x=", b"label=a:x="),
        (b"ok=", b"ok="),
        (b"a", b"a"),
    ],
)
def test_a_parameter_without_a_value_is_as_good_as_none(raw: bytes, kept: bytes) -> None:
    """Clients write so what they leave out; only whether a result is good is never taken for granted."""
    known = KnownParameters(["hold", "since", "cursor", "label", "ok", "a"])

    assert known.accept(raw) == kept


@pytest.mark.parametrize("raw", [b"types=a,b", b"types=a&types=b", b"types=a, b,&x=c", b"types=a&x=c&types=,b"])
def test_a_list_in_a_query_is_written_either_way(raw: bytes) -> None:
    """With commas, or again and again."""
    assert listed_in({"query_string": raw.replace(b" ", b"+")}, "types") == ["a", "b"]


@pytest.mark.parametrize("raw", [b"a=%ff", b"a=\xff", b"&".join(b"a=1" for _ in range(101))])
def test_queries_that_cannot_be_read_are_refused(raw: bytes) -> None:
    """Not UTF-8, not ASCII, too many."""
    with pytest.raises(InvalidRequest):
        query_of({"query_string": raw})


async def never() -> Any:
    """A receive, or a wait, that nothing ends."""
    await asyncio.get_running_loop().create_future()


async def test_a_parked_wait_gives_its_result() -> None:
    """And is forgotten."""
    holds = Holds()

    async def result() -> int:
        await asyncio.sleep(0)
        return 7

    assert await holds.park(never, result(), {}) == 7
    assert holds.parked == 0


async def test_a_parked_wait_ends_when_its_client_leaves() -> None:
    """The wait is cancelled."""
    holds, gone = Holds(), asyncio.Event()

    async def receive() -> dict[str, Any]:
        await gone.wait()
        return {"type": "http.disconnect"}

    parked = asyncio.create_task(holds.park(receive, never(), {}))
    await eventually(lambda: holds.parked == 1)
    gone.set()

    with pytest.raises(ClientDisconnect):
        await parked
    assert holds.parked == 0


async def test_draining_ends_every_wait_now_and_later() -> None:
    """A wait that is fulfilled at once still is."""
    holds = Holds()
    parked = [asyncio.create_task(holds.park(never, never(), {})) for _ in range(3)]
    await eventually(lambda: holds.parked == 3)

    holds.drain()
    holds.drain()

    for wait in parked:
        with pytest.raises(Drained):
            await wait
    with pytest.raises(Drained):
        await holds.park(never, never(), {})

    async def ready() -> int:
        return 1

    assert await holds.park(never, ready(), {}) == 1


async def test_a_cancelled_request_is_not_mistaken_for_a_drained_one() -> None:
    """Cancelling the request itself raises a cancellation."""
    holds = Holds()
    parked = asyncio.create_task(holds.park(never, never(), {}))
    await eventually(lambda: holds.parked == 1)
    parked.cancel()

    with pytest.raises(asyncio.CancelledError):
        await parked
