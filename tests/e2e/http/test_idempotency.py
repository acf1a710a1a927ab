"""Idempotency keys: the same request again makes nothing new, another one is refused."""

from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest

from tests.support.serving import ROOT_KEY, Node, served

OP, WORK = "/v1/operator", "/v1/worker"


@pytest.fixture
async def node(store_url: str) -> AsyncIterator[Node]:
    """A node."""
    async with served(store_url=store_url) as node:
        yield node


async def twice(client: httpx.AsyncClient, path: str, body: Any, other: Any) -> tuple[Any, Any]:
    """Two replies to one request with a key; with another body the key is refused."""
    headers = {"Idempotency-Key": f"key for {path}"}
    first = await client.post(path, json=body, headers=headers)
    again = await client.post(path, json=body, headers=headers)
    refused = await client.post(path, json=other, headers=headers)
    assert first.status_code == again.status_code < 300, (first.text, again.text)
    assert (refused.status_code, refused.json()["code"]) == (422, "idempotency-mismatch"), refused.text
    return first.json(), again.json()


async def test_the_same_task_is_made_once(node: Node) -> None:
    """Both replies show the same task, and there is one."""
    operator = await node.operator()
    body = {"agent": "a", "initial_directive": "d"}

    first, again = await twice(operator, f"{OP}/tasks", body, {**body, "agent": "b"})

    assert first == again
    assert len((await operator.get(f"{OP}/tasks")).json()["items"]) == 1


async def test_a_repeated_dispatch_gives_the_same_attempt_and_a_handle_that_works(node: Node) -> None:
    """The secret is minted afresh, and both work."""
    operator = await node.operator()
    task = (await operator.post(f"{OP}/tasks", json={"agent": "a", "initial_directive": "d"})).json()["id"]
    body = {"spawner": {"kind": "external"}}

    first, again = await twice(operator, f"{OP}/tasks/{task}/dispatch", body, {**body, "lease": 60})

    assert first["attempt"] == again["attempt"] == 1
    for reply in (first, again):
        assert (await node.as_(reply["worker_handle"]).get(f"{WORK}/prompt")).status_code == 200


async def test_a_repeated_attach_gives_the_same_session_and_a_token_that_works(node: Node) -> None:
    """One session, however often the reply was lost."""
    body = {"operator_id": "o", "ttl": 60}

    first, again = await twice(node.as_(ROOT_KEY), f"{OP}/sessions", body, {**body, "ttl": 61})

    assert first["session"]["id"] == again["session"]["id"]
    for reply in (first, again):
        assert (await node.as_(reply["token"]).get(f"{OP}/session")).status_code == 200


async def test_repeated_mints_questions_and_keys(node: Node) -> None:
    """The same token record, question and key, with secrets that work."""
    operator, root = await node.operator(), node.as_(ROOT_KEY)
    _, worker = await node.worker(operator)
    mint = {"agent_id": "o", "role": "observer", "ttl": 60}

    tokens = await twice(operator, f"{OP}/tokens", mint, {**mint, "ttl": 61})
    questions = await twice(worker, f"{WORK}/questions", {"question": 1}, {"question": 2})
    keys = await twice(root, "/v1/admin/keys", {"name": "k", "roles": ["observer"]}, {"name": "l", "roles": ["senior"]})

    assert tokens[0]["jti"] == tokens[1]["jti"]
    assert (await node.as_(tokens[1]["token"]).get(f"{OP}/stats")).status_code == 200
    assert questions[0]["key"] == questions[1]["key"]
    assert keys[0]["id"] == keys[1]["id"]
    attach = {"operator_id": "x", "role": "observer", "ttl": 60}
    assert (await node.as_(keys[1]["key"]).post(f"{OP}/sessions", json=attach)).status_code == 201


async def test_two_callers_keys_never_meet(node: Node) -> None:
    """A key is its caller's own."""
    headers = {"Idempotency-Key": "same"}
    body = {"agent": "a", "initial_directive": "d"}
    replies = [
        await (await node.operator(name=name)).post(f"{OP}/tasks", json=body, headers=headers) for name in ("a", "b")
    ]

    assert replies[0].json()["id"] != replies[1].json()["id"]


@pytest.mark.parametrize("key", [b"", b"x" * 256, b"\xe4", b"a\tb"])
async def test_a_key_that_cannot_be_one_is_400(node: Node, key: bytes) -> None:
    """One to 255 printable ASCII characters."""
    operator = await node.operator()
    reply = await operator.post(
        f"{OP}/tasks",
        json={"agent": "a", "initial_directive": "d"},
        headers=[(b"Idempotency-Key", key)],
    )

    assert (reply.status_code, reply.json()["code"]) == (400, "invalid-request")


async def test_a_repeated_claim_gives_the_same_attempt(node: Node) -> None:
    """A worker whose claim was cut off has it at once, not when its lease ends; one that found nothing made none."""
    operator, queue = await node.operator(), node.as_(ROOT_KEY)
    body = {"queue": "q", "hold": 0}
    empty = await queue.post(f"{WORK}/claim", json=body, headers={"Idempotency-Key": f"key for {WORK}/claim"})
    tasks = []
    for _ in range(2):
        tasks.append((await operator.post(f"{OP}/tasks", json={"agent": "a", "initial_directive": "d"})).json()["id"])
        await operator.post(f"{OP}/tasks/{tasks[-1]}/dispatch", json={"spawner": {"kind": "queue", "queue": "q"}})

    first, again = await twice(queue, f"{WORK}/claim", body, {**body, "queue": "r"})
    other = (await queue.post(f"{WORK}/claim", json=body)).json()

    assert empty.status_code == 204
    assert [first["task_id"], again["task_id"], other["task_id"]] == [tasks[0], tasks[0], tasks[1]]
    for claimed in (first, again):
        assert (await node.as_(claimed["worker_handle"]).get(f"{WORK}/prompt")).status_code == 200


async def test_a_claim_that_came_to_its_end_is_made_anew(node: Node) -> None:
    """What the key named is over: its worker gets the next attempt, not a spent handle."""
    operator, queue = await node.operator(), node.as_(ROOT_KEY)
    headers = {"Idempotency-Key": "one"}
    claims = []
    for _ in range(2):
        task = (await operator.post(f"{OP}/tasks", json={"agent": "a", "initial_directive": "d"})).json()["id"]
        await operator.post(f"{OP}/tasks/{task}/dispatch", json={"spawner": {"kind": "queue", "queue": "q"}})
        reply = await queue.post(f"{WORK}/claim", json={"queue": "q", "hold": 0}, headers=headers)
        claims.append((task, reply.json()["task_id"]))
        submitted = await node.as_(reply.json()["worker_handle"]).post(f"{WORK}/submit", content="done")
        assert submitted.status_code == 204

    assert [claimed == task for task, claimed in claims] == [True, True]


async def test_a_repeated_output_is_kept_once(node: Node) -> None:
    """The same key says the same thing; without a key, it is said again."""
    operator = await node.operator()
    task, worker = await node.worker(operator)
    body = {"type": "partial", "chunk": 1}
    headers = {"Idempotency-Key": "one"}
    for _ in range(2):
        assert (await worker.post(f"{WORK}/output", json=body, headers=headers)).status_code == 204
    refused = await worker.post(f"{WORK}/output", json={**body, "chunk": 2}, headers=headers)
    assert (await worker.post(f"{WORK}/output", json=body)).status_code == 204
    kept = (await operator.get(f"{OP}/tasks/{task}/attempts/1/output")).json()["items"]

    assert refused.json()["code"] == "idempotency-mismatch"
    assert [record["chunk"] for record in kept] == [1, 1]
