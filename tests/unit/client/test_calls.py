"""Callers against a scripted server: an httpx transport that answers from a list, so that any failure can be played."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import httpx
import orjson
import pytest

from swarmhold import ApiProblem, CallRetry, Status, SwarmholdClient, Unanswered, Unreachable
from swarmhold.models.attempts import Dispatched, DispatchOutcome
from swarmhold.models.events import Lagged
from swarmhold.models.spawners import ExternalSpawner
from swarmhold.transport import Transport
from tests.unit.models.test_shapes import QUESTION, TASK

Step = httpx.Response | Exception | Callable[[httpx.Request], httpx.Response]
QUICK = CallRetry(
    timeout=timedelta(seconds=5), initial_backoff=timedelta(milliseconds=1), max_backoff=timedelta(milliseconds=2)
)


class Script(httpx.AsyncBaseTransport):
    """Plays the steps in order, one for each request, and keeps the requests."""

    def __init__(self, *steps: Step) -> None:
        self.steps = list(steps)
        self.requests: list[httpx.Request] = []

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        await request.aread()
        self.requests.append(request)
        step = self.steps.pop(0)
        if isinstance(step, Exception):
            raise step
        return step if isinstance(step, httpx.Response) else step(request)


def server(script: Script) -> SwarmholdClient:
    """A client whose server is the script."""
    http = httpx.AsyncClient(base_url="http://swarm.test/prefix", transport=script)
    return SwarmholdClient("", http=http, call_retry=QUICK)


def problem(status: int, code: str, **fields: Any) -> httpx.Response:
    """A refusal."""
    headers = {"Content-Type": "application/problem+json"}
    body = {"type": "t", "title": "T", "status": status, "detail": "d", "code": code, **fields}
    return httpx.Response(status, content=orjson.dumps(body), headers=headers)


def task(status: str = "running", version: int = 3, code: int = 200) -> httpx.Response:
    """A task as the reply."""
    return httpx.Response(code, json={**TASK, "status": status, "version": version})


async def test_a_creating_call_is_sent_again_under_one_key() -> None:
    """A broken connection, a busy server, then success: the same body and idempotency key each time."""
    script = Script(httpx.ReadError("gone"), problem(503, "lock-busy"), task("pending", code=201))
    await server(script).operator("secret").start_task("a", "do", labels={"k": "v"})
    assert len({request.headers["idempotency-key"] for request in script.requests}) == 1
    assert len({request.content for request in script.requests}) == 1
    assert orjson.loads(script.requests[0].content) == {"agent": "a", "initial_directive": "do", "labels": {"k": "v"}}


async def test_the_credential_is_in_the_header_and_nowhere_else() -> None:
    """Neither in the URL nor in what repr shows."""
    script = Script(task())
    operator = server(script).operator("shk_secret")
    await operator.task("T-0/../x?y")
    request = script.requests[0]
    assert request.headers["authorization"] == "Bearer shk_secret"
    assert str(request.url) == "http://swarm.test/prefix/v1/operator/tasks/T-0%2F..%2Fx%3Fy"
    assert "secret" not in repr(operator)


async def test_a_refusal_carries_the_problem() -> None:
    """Status, code, words and the code's own fields."""
    script = Script(problem(409, "final-conflict", attempt=2))
    with pytest.raises(ApiProblem, match="409 final-conflict: d") as caught:
        await server(script).worker("wh-x").submit(1)
    assert (caught.value.status, caught.value.code, caught.value.fields) == (409, "final-conflict", {"attempt": 2})


async def test_a_refusal_in_another_format_is_a_problem_too() -> None:
    """A proxy's page has a code made up from its status."""
    script = Script(httpx.Response(403, text="<h1>no</h1>"))
    with pytest.raises(ApiProblem) as caught:
        await server(script).operator("t").task("T-0")
    assert caught.value.code == "http-403"


async def test_a_call_that_must_not_be_repeated_is_not() -> None:
    """Verifying consumes a use: after a broken connection nobody knows whether it did."""
    script = Script(httpx.ReadError("gone"))
    with pytest.raises(Unreachable, match="gone"):
        await server(script).operator("t").verify_token("x", verb="fetch_data")  # pyright: ignore[reportArgumentType]
    assert len(script.requests) == 1


async def test_retries_end_with_the_last_failure() -> None:
    """The caller gets what the server said last."""
    script = Script(*(problem(503, "store-unavailable") for _ in range(100)))
    http = httpx.AsyncClient(base_url="http://swarm.test", transport=script)
    call_retry = CallRetry(timeout=timedelta(0), initial_backoff=timedelta(milliseconds=1))
    with pytest.raises(ApiProblem, match="store-unavailable"):
        await SwarmholdClient("", http=http, call_retry=call_retry).operator("t").task("T-0")
    assert len(script.requests) == 1


@pytest.mark.parametrize("lost", [httpx.ReadError("gone"), httpx.Response(502)], ids=["broken", "gateway"])
async def test_a_poll_that_was_parked_for_long_is_sent_again(lost: httpx.Response | Exception) -> None:
    """Its node died: the time until then is no part of the outage. That of a call without a hold is."""
    now = 0.0

    def lose(request: httpx.Request) -> httpx.Response:
        nonlocal now
        now += 45.0
        if isinstance(lost, Exception):
            raise lost
        return lost

    script = Script(lose, httpx.Response(204), lose)
    http = httpx.AsyncClient(base_url="http://swarm.test", transport=script)
    transport = Transport(http, "t", call_retry=CallRetry(initial_backoff=timedelta(0)), clock=lambda: now)
    assert (await transport.get("/x", hold=timedelta(seconds=50))).status_code == 204
    with pytest.raises((Unreachable, ApiProblem)):
        await transport.get("/x")
    assert script.steps == []


async def test_retry_after_is_slept() -> None:
    """The pause is the server's when it asks for one."""
    slept: list[float] = []

    async def sleep(seconds: float) -> None:
        slept.append(seconds)

    busy = problem(429, "too-many-guesses")
    busy.headers["Retry-After"] = "7"
    http = httpx.AsyncClient(base_url="http://swarm.test", transport=Script(busy, httpx.Response(204)))
    await Transport(http, "t", sleep=sleep).post("/x")
    assert slept == [7.0]


async def test_waiting_polls_on_with_the_last_version() -> None:
    """202 means ask again; a suspended task is waited through unless asked for."""
    script = Script(task("running", 3, 202), task("suspended", 4), task("suspended", 4), task("pass", 6))
    done = await server(script).operator("t").wait_for("T-0", deadline=timedelta(seconds=5))
    assert done.status is Status.PASS
    assert [request.url.params.get("since") for request in script.requests] == [None, "3", "4", "4"]
    script = Script(task("suspended", 4))
    stopped = await server(script).operator("t").wait_for("T-0", or_suspended=True)
    assert stopped.status is Status.SUSPENDED


async def test_waiting_ends_at_the_callers_deadline() -> None:
    """However often the server says not yet."""
    script = Script(*(task("suspended", 4) for _ in range(10_000)))
    with pytest.raises(TimeoutError):
        await server(script).operator("t").wait_for("T-0", deadline=timedelta(milliseconds=50))


async def test_a_dispatch_with_wait_tells_outcome_from_started() -> None:
    """200 is the outcome, 202 the running attempt."""
    script = Script(
        httpx.Response(200, json={"outcome": "pass", "value": 1}),
        httpx.Response(202, json={"task_id": "T-0", "attempt": 1}),
    )
    operator = server(script).operator("t")
    wait = timedelta(seconds=2)
    assert await operator.dispatch_and_wait("T-0", ExternalSpawner(), wait=wait) == DispatchOutcome.model_validate(
        {"outcome": "pass", "value": 1}
    )
    assert isinstance(await operator.dispatch_and_wait("T-0", ExternalSpawner(), wait=wait), Dispatched)
    assert script.requests[0].url.params["wait"] == "2.0"
    assert orjson.loads(script.requests[0].content) == {"spawner": {"kind": "external"}, "layers": []}


async def test_an_answer_is_waited_for_and_may_be_null() -> None:
    """Open, open, answered with null."""
    open_ = httpx.Response(202, json=QUESTION)
    answered = httpx.Response(200, json={**QUESTION, "status": "answered", "answer": None})
    assert await server(Script(open_, open_, answered)).worker("wh-x").await_answer("R-0") is None


@pytest.mark.parametrize("status", ["withdrawn", "expired"])
async def test_a_question_closed_without_an_answer_says_so(status: str) -> None:
    """Nothing is approved by itself."""
    script = Script(httpx.Response(200, json={**QUESTION, "status": status}))
    with pytest.raises(Unanswered, match=status):
        await server(script).operator("t").await_answer("R-0")


async def test_a_text_and_a_value_are_submitted_as_what_they_are() -> None:
    """A text is no JSON string, and a failure says so in the query."""
    script = Script(httpx.Response(204), httpx.Response(204))
    worker = server(script).worker("wh-x")
    await worker.submit_text("done ✓")
    await worker.submit({"n": 1}, ok=False)
    text, value = script.requests
    assert (text.headers["content-type"], text.content) == ("text/plain; charset=utf-8", "done ✓".encode())
    assert (value.headers["content-type"], value.content) == ("application/json", b'{"n":1}')
    assert (text.url.params["ok"], value.url.params["ok"]) == ("true", "false")


async def test_a_listing_is_read_to_its_end() -> None:
    """Page after page, with the cursor of the one before."""
    script = Script(
        httpx.Response(200, json={"items": [TASK, TASK], "next_cursor": "c"}),
        httpx.Response(200, json={"items": [TASK], "next_cursor": None}),
    )
    found = [found async for found in server(script).operator("t").all_tasks(status=Status.RUNNING)]
    assert len(found) == 3
    assert [request.url.params.get("cursor") for request in script.requests] == [None, "c"]
    assert script.requests[0].url.params["status"] == "running"


def feed(*events: tuple[str, int]) -> httpx.Response:
    """An event stream that ends after these."""
    data = '"at":"2026-01-31T09:30:00.000Z"'
    text = "".join(f'event: {kind}\nid: {n}\ndata: {{"cursor":{n},{data}}}\n\n' for kind, n in events)
    return httpx.Response(200, content=text.encode(), headers={"Content-Type": "text/event-stream"})


async def test_a_feed_resumes_behind_the_last_event() -> None:
    """A broken connection, a busy server and an end of stream are all passed over."""
    script = Script(
        feed(("task_created", 1), ("lagged", 5)),
        httpx.ConnectError("down"),
        problem(503, "store-unavailable"),
        feed(("task_pass", 6)),
        problem(401, "unauthenticated"),
    )
    events = server(script).operator("t").events(after=0, types=("task_created", "task_pass"))
    received = [await anext(events) for _ in range(3)]
    with pytest.raises(ApiProblem, match="unauthenticated"):
        await anext(events)
    assert [type(event) is Lagged for event in received] == [False, True, False]
    assert [event.cursor for event in received] == [1, 5, 6]
    first, second, *_ = script.requests
    assert (first.url.params.get("after"), first.headers.get("last-event-id")) == ("0", None)
    assert (second.url.params.get("after"), second.headers.get("last-event-id")) == (None, "5")
    assert first.url.params["types"] == "task_created,task_pass"


async def test_a_session_stays_attached_while_the_block_runs() -> None:
    """Beats that do not get through are passed over; a refusal ends the beating, not the block."""
    beaten = asyncio.Event()

    def refuse(_request: httpx.Request) -> httpx.Response:
        beaten.set()
        return problem(401, "unauthenticated")

    script = Script(httpx.Response(204), problem(500, "internal"), refuse)
    async with server(script).operator("t").staying_attached(interval=timedelta(milliseconds=1)):
        await asyncio.wait_for(beaten.wait(), 60)
    assert not script.steps
