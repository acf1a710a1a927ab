"""Hostile bodies within and beyond the limits: each is refused with a short reply that names the limit."""

import json
from collections.abc import AsyncIterator

import pytest

from app.domain.limits import Limits
from app.http.settings import HttpSettings
from tests.e2e.http.test_errors import OP, WORK, problem
from tests.support.serving import Node, served

UNKNOWN = "{" + ",".join(f'"u{n}":0' for n in range(40_000)) + ',"agent":"a"}'
EMPTY_LISTS = "[" + ",".join(["[]"] * 150_000) + "]"
JSON = {"Content-Type": "application/json"}


@pytest.fixture
async def node() -> AsyncIterator[Node]:
    """A server."""
    async with served(HttpSettings()) as node:
        yield node


async def test_a_body_of_too_many_values_is_413(node: Node) -> None:
    """Wherever JSON is taken, before anything is built from it."""
    operator = await node.operator()
    task, worker = await node.worker(operator)
    bodies = {
        f"{WORK}/tasks": '{"agent":"a","initial_directive":' + EMPTY_LISTS + "}",
        f"{WORK}/questions": '{"question":' + EMPTY_LISTS + "}",
        f"{WORK}/output": '{"type":"partial","chunk":' + EMPTY_LISTS + "}",
        f"{WORK}/result": json.dumps({"task_id": task})[:-1] + ',"value":' + EMPTY_LISTS + "}",
        f"{WORK}/submit": EMPTY_LISTS,
    }

    for path, body in bodies.items():
        refused = problem(await worker.post(path, content=body, headers=JSON), 413, "payload-too-large")
        assert (refused["what"], refused["limit"]) == ("values", 100_000)
    refused = problem(
        await operator.put(f"{OP}/resources/r", content=EMPTY_LISTS, headers=JSON), 413, "payload-too-large"
    )
    assert refused["what"] == "values"


async def test_a_422_lists_so_many_errors_and_counts_the_others(node: Node) -> None:
    """However many parts of a body do not fit, its reply is short and repeats nothing of it."""
    operator = await node.operator()
    _, worker = await node.worker(operator)
    long = "x" * 1000

    for path, client in ((f"{WORK}/tasks", worker), (f"{OP}/tokens", operator)):
        for count in (30, 300, 3000, 40_000):
            body = json.dumps({"agent": "a"} | {f"{long[: 4000 // count]}{n}": 0 for n in range(count)})
            reply = await client.post(path, content=body, headers=JSON)
            refused = problem(reply, 422, "invalid-body")
            assert len(refused["errors"]) == 20
            assert refused["errors_left"] >= count - 20
            assert len(reply.content) < 20_000
    reply = await worker.post(f"{WORK}/tasks", json={"agent": "a", "labels": dict.fromkeys(map(str, range(40_000)), 1)})
    assert problem(reply, 422, "invalid-body")["errors_left"] > 30_000
    assert len(reply.content) < 2000
    reply = await worker.post(f"{WORK}/tasks", json={"agent": "a", "y" * 500_000: 1})
    assert len(reply.content) < 2000


async def test_a_worker_sends_less_than_others_may() -> None:
    """Each of the two sizes is named."""
    async with served(HttpSettings(limits=Limits(worker_body_bytes=1000, body_bytes=5000))) as node:
        operator = await node.operator()
        _, worker = await node.worker(operator)

        refused = problem(await worker.post(f"{WORK}/submit", json="x" * 1000), 413, "payload-too-large")
        assert (refused["what"], refused["limit"]) == ("worker_body", 1000)
        assert (await operator.put(f"{OP}/resources/r", json="x" * 4000)).status_code == 204
        refused = problem(await operator.put(f"{OP}/resources/r", json="x" * 5000), 413, "payload-too-large")
        assert (refused["what"], refused["limit"]) == ("body", 5000)
