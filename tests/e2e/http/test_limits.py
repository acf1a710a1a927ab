"""Hostile bodies within and beyond the limits: each is refused with a short reply that names the limit."""

import asyncio
import json
from collections.abc import AsyncIterator

import pytest

from app.domain.limits import Limits
from app.http.settings import HttpSettings
from tests.e2e.http.test_errors import OP, WORK, problem
from tests.support.serving import ROOT_KEY, Node, served
from tests.support.waiting import eventually

per_node = pytest.mark.one_node("each node counts what waits and what is received there")

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
    known = {"labels": {"k": 1}, "agent_id": 1, "role": "worker", "ttl": 60}

    for path, client, others in ((f"{WORK}/tasks", worker, 6), (f"{OP}/tokens", operator, 2)):
        for count in (30, 300, 499, 500, 501, 3000, 40_000):
            body = json.dumps({f"{long[: 4000 // count]}{n}": 0 for n in range(count)} | known)
            reply = await client.post(path, content=body, headers=JSON)
            refused = problem(reply, 422, "invalid-body")
            assert len(refused["errors"]) == 20
            assert refused["errors_left"] == count + others - 20
            assert len(reply.content) < 20_000
    reply = await worker.post(f"{WORK}/tasks", json={"agent": "a", "labels": dict.fromkeys(map(str, range(40_000)), 1)})
    refused = problem(reply, 422, "invalid-body")
    assert len(refused["errors"]) + refused["errors_left"] == 40_000 + 1
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


@per_node
async def test_one_token_parks_so_many_requests() -> None:
    """Others are served meanwhile, and a poll that ends makes room."""
    async with served(HttpSettings(limits=Limits(parked=2))) as node:
        operator, other = await node.operator(), await node.operator()
        task, _ = await node.worker(operator)
        path = f"{OP}/tasks/{task}/poll?hold=30"
        parked = [asyncio.create_task(operator.get(path)) for _ in range(2)]
        await eventually(lambda: node.parked == 2)

        reply = await operator.get(path)
        refused = problem(reply, 429, "quota-exceeded")
        assert (refused["quota"], refused["limit"], reply.headers["Retry-After"]) == ("parked", 2, "1")
        assert (await other.get(f"{OP}/tasks/{task}/poll?hold=0")).status_code == 202
        await operator.post(f"{OP}/tasks/{task}/cancel")
        assert {(await poll).status_code for poll in parked} == {200}
        assert (await operator.get(path)).status_code == 200


@per_node
async def test_one_token_has_so_many_streams() -> None:
    """A stream that ends makes room."""
    async with served(HttpSettings(limits=Limits(streams=1))) as node:
        operator = await node.operator()
        async with operator.stream("GET", f"{OP}/events") as first:
            assert first.status_code == 200
            assert problem(await operator.get(f"{OP}/events"), 429, "quota-exceeded")["quota"] == "streams"
        await eventually(lambda: node.parked == 0)
        async with operator.stream("GET", f"{OP}/events") as second:
            assert second.status_code == 200


@per_node
async def test_bodies_being_received_are_bounded() -> None:
    """Unfinished bodies of one API key, whatever session sends them, leave room for those of others."""
    async with served(HttpSettings(limits=Limits(receiving_each_bytes=300_000))) as node:
        operator, sibling = await node.operator(), await node.operator()
        reply = await node.as_(ROOT_KEY).post("/v1/admin/keys", json={"name": "other", "roles": ["operator"]})
        body = {"operator_id": "o", "role": "operator", "ttl": 60}
        attached = await node.as_(reply.json()["key"]).post(f"{OP}/sessions", json=body)
        other = node.as_(attached.json()["token"])
        _, worker = await node.worker(operator)
        released = asyncio.Event()

        async def unfinished() -> AsyncIterator[bytes]:
            yield b'"' + b"x" * 200_000
            await released.wait()
            yield b'"'

        first = asyncio.create_task(operator.put(f"{OP}/resources/a", content=unfinished(), headers=JSON))
        await eventually(lambda: node.application.receiving.held >= 150_000)
        for call in (
            operator.put(f"{OP}/resources/b", json="x" * 250_000),
            sibling.put(f"{OP}/resources/b", json="x" * 250_000),
            worker.post(f"{WORK}/submit", json="x" * 250_000),
            node.as_(ROOT_KEY).post(f"{OP}/sessions", json={"operator_id": "x" * 250_000}),
        ):
            reply = await call
            refused = problem(reply, 503, "overloaded")
            assert (refused["quota"], refused["limit"]) == ("receiving_each", 300_000)
            assert "Retry-After" in reply.headers
        assert (await other.put(f"{OP}/resources/b", json="x" * 250_000)).status_code == 204
        released.set()
        assert (await first).status_code == 204
        assert node.application.receiving.held == 0


@per_node
async def test_invented_credentials_make_no_room() -> None:
    """Bodies whose credential is not valid are those of their source."""
    limits = Limits(receiving_each_bytes=300_000, receiving_unknown_bytes=1000)
    async with served(HttpSettings(limits=limits)) as node:
        for credential in ("shk_" + "x" * 40, "a.b.c", "wh-" + "x" * 27, None):
            reply = await node.as_(credential).post(f"{WORK}/claim", json={"queue": "q" * 200_000})
            assert problem(reply, 503, "overloaded")["quota"] == "receiving_unknown"
        assert node.application.receiving.held == 0


@per_node
async def test_another_spelling_of_a_credential_is_the_same() -> None:
    """Handles are read in upper and lower case, and the last character of a signature has spare bits."""
    async with served(HttpSettings(limits=Limits(parked=1))) as node:
        operator = await node.operator()
        task, worker = await node.worker(operator)
        handle, token = (client.headers["Authorization"].split()[1] for client in (worker, operator))
        child = (await worker.post(f"{WORK}/tasks", json={"agent": "a", "initial_directive": "x"})).json()["id"]
        last = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_".index(token[-1])
        spelled = token[:-1] + "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"[last ^ 1]
        for path, one, two in (
            (f"{WORK}/tasks/{child}/poll?hold=30", handle, handle.upper()),
            (f"{OP}/tasks/{task}/poll?hold=30", token, spelled),
        ):
            parked = asyncio.create_task(node.as_(one).get(path))
            await eventually(lambda: node.parked == 1)
            assert (await node.as_(two).get(path)).status_code == 429
            parked.cancel()
            await eventually(lambda: node.parked == 0)


async def test_lives_of_credentials_are_bounded(node: Node) -> None:
    """Beyond the limit is 422."""
    operator = await node.operator()
    body = {"agent_id": "a", "role": "worker", "ttl": 8 * 86_400}
    assert problem(await operator.post(f"{OP}/tokens", json=body), 422, "invalid-body")["errors"][0]["field"] == "ttl"
    body = {"operator_id": "o", "role": "operator", "ttl": 31 * 86_400}
    reply = await node.as_(ROOT_KEY).post(f"{OP}/sessions", json=body)
    assert problem(reply, 422, "invalid-body")["errors"][0]["field"] == "ttl"
