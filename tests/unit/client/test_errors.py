"""Whatever goes wrong, a caller that catches `swarmhold.Error` has caught it."""

from __future__ import annotations

import importlib
import importlib.util
import inspect
import json
import pkgutil
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import Enum
from typing import Any
from uuid import UUID

import httpx
import pytest

import swarmhold
from swarmhold import (
    CallRetry,
    DeadlineExceeded,
    Error,
    InvalidArgument,
    InvalidReply,
    OnDeadline,
    Operator,
    QueueSpawner,
    Retry,
    SwarmholdClient,
    Unreachable,
)
from swarmhold.encoding import encode
from swarmhold.transport import Transport
from tests.unit.models.test_shapes import TASK

AT_ONCE = CallRetry(timeout=timedelta(0))


def client(reply: Callable[[httpx.Request], httpx.Response]) -> SwarmholdClient:
    """A client whose server is this function."""
    http = httpx.AsyncClient(base_url="http://swarm.test", transport=httpx.MockTransport(reply))
    return SwarmholdClient("", http=http, call_retry=AT_ONCE)


def refusing(_request: httpx.Request) -> httpx.Response:
    """A server that must not be asked."""
    raise AssertionError("a bad argument was sent")


def test_every_exception_of_the_package_is_below_its_root() -> None:
    """Also those that only a module of it has."""
    found: set[type] = set()
    for module in pkgutil.walk_packages(swarmhold.__path__, "swarmhold."):
        if module.name == "swarmhold.adapters.claude" and importlib.util.find_spec("claude_agent_sdk") is None:
            continue
        classes = vars(importlib.import_module(module.name)).values()
        found |= {value for value in classes if inspect.isclass(value) and value.__module__.startswith("swarmhold")}
    assert {value for value in found if issubclass(value, BaseException)} >= {Error, InvalidReply, swarmhold.JobFailed}
    assert [value for value in found if issubclass(value, BaseException) and not issubclass(value, Error)] == []


@pytest.mark.parametrize(
    "call",
    [
        lambda operator: operator.start_task("", "do"),
        lambda operator: operator.start_task("a", "do", labels={"a:b": "c"}),
        lambda operator: operator.start_task("a", "do", attempt_timeout=timedelta(0)),
        lambda operator: operator.start_task("a", "do", idempotency_key="schlüssel"),
        lambda operator: operator.ask("T-0", "?", on_deadline=OnDeadline.BLOCK),
        lambda operator: operator.ask("T-0", "?", deadline=datetime(2030, 1, 1)),  # noqa: DTZ001 - the point of it
        lambda operator: operator.ask("T-0", "?", default=[1, 2]),
        lambda operator: operator.ask("T-0", object()),
        lambda operator: operator.set_resource("key", float("nan")),
        lambda operator: operator.set_resource("key", {"a": {1, 2}}),
    ],
)
async def test_a_bad_argument_is_told_before_anything_is_sent(call: Callable[[Operator], Awaitable[object]]) -> None:
    """It is a ValueError, too, as Python's callers expect."""
    with pytest.raises(InvalidArgument) as caught:
        await call(client(refusing).operator("token"))
    assert isinstance(caught.value, ValueError)
    assert str(caught.value)


@pytest.mark.parametrize(
    "build",
    [
        lambda: Retry(max_attempts=0),
        lambda: Retry(max_attempts=1, tries=3),  # pyright: ignore[reportCallIssue] - no such field
        lambda: QueueSpawner(queue=""),
        lambda: SwarmholdClient("http://[::1"),
        lambda: SwarmholdClient("http://swarm.test").operator("two\nlines"),
        lambda: SwarmholdClient("http://swarm.test").operator(""),
        lambda: client(refusing).queue_worker("key", "q", lambda job: job.prompt, concurrency=0),  # type: ignore[arg-type]
    ],
)
def test_what_cannot_be_built_says_so_in_the_packages_own_words(build: Callable[[], object]) -> None:
    """Models and clients alike; the message names the field and never the value, which may be a secret."""
    with pytest.raises(InvalidArgument) as caught:
        build()
    assert "two" not in str(caught.value)


def test_a_bad_field_is_named() -> None:
    """With the reason, for each field that is wrong."""
    with pytest.raises(InvalidArgument, match=r"Retry: max_attempts: .*1; jitter: .*1$"):
        Retry(max_attempts=0, jitter=2)


@pytest.mark.parametrize("body", [b"", b"<html>a proxy's page</html>", b"[]", b'{"id": "T-0"}', b'"\xff"'])
async def test_a_reply_of_another_server_is_an_error_of_its_own(body: bytes) -> None:
    """It names the call and is not repeated: the server has acted."""
    operator = client(lambda _: httpx.Response(200, content=body)).operator("token")
    with pytest.raises(InvalidReply, match="the reply to GET /v1/operator/tasks/T-0 is not of this API"):
        await operator.task("T-0")


async def test_a_reply_that_cannot_be_decompressed_is_one_too() -> None:
    """What httpx raises does not reach the caller."""
    reply = httpx.Response(200, headers={"content-encoding": "gzip"}, stream=httpx.ByteStream(b"not gzip"))
    with pytest.raises(InvalidReply):
        await client(lambda _: reply).operator("token").task("T-0")


async def test_a_deadline_is_also_the_built_in_timeout() -> None:
    """Code that waits for a TimeoutError goes on working."""
    running = {**TASK, "status": "running"}
    operator = client(lambda _: httpx.Response(200, json=running)).operator("token")
    with pytest.raises(DeadlineExceeded, match=r"deadline of 0\.01 s") as caught:
        await operator.wait_for("T-0", deadline=timedelta(milliseconds=10))
    assert isinstance(caught.value, TimeoutError)


async def test_a_closed_client_says_that_it_is_closed() -> None:
    """Not with httpx's RuntimeError."""
    closed = SwarmholdClient("http://127.0.0.1:1")
    await closed.aclose()
    with pytest.raises(Unreachable, match="closed"):
        await closed.operator("token").task("T-0")


class Colour(Enum):
    """A plain enumeration."""

    RED = "red"


@dataclass
class Point:
    """Something that JSON has no word for by itself."""

    x: int
    seen: datetime


@pytest.mark.parametrize(
    ("value", "written"),
    [
        (2**200, 2**200),
        ("ä\u2028", "ä\u2028"),
        ({"a": [True, None, 1.5]}, {"a": [True, None, 1.5]}),
        (Colour.RED, "red"),
        (UUID(int=1), "00000000-0000-0000-0000-000000000001"),
        (Point(1, datetime(2026, 1, 31, tzinfo=UTC)), {"x": 1, "seen": "2026-01-31T00:00:00+00:00"}),
        (Retry(max_attempts=2), {**json.loads(Retry(max_attempts=2).model_dump_json())}),
    ],
)
def test_what_can_be_written_is(value: Any, written: Any) -> None:
    """Integers of any size, and the classes that the standard library has a text for."""
    assert json.loads(encode(value)) == written


@pytest.mark.parametrize("value", [float("inf"), float("nan"), b"bytes", {1, 2}, object(), "\ud800", Point])
def test_what_json_has_no_value_for_is_refused(value: Any) -> None:
    """Rather than sent as null, or as something that reads back otherwise."""
    with pytest.raises(InvalidArgument):
        encode({"deep": [value]})


def test_a_transport_shows_no_credential() -> None:
    """Not in its repr, which logs and tracebacks have."""
    assert "s3cret" not in repr(Transport(httpx.AsyncClient(), "s3cret"))
