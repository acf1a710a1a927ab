"""What a server takes from somebody who shows no living credential: little."""

import asyncio
from collections.abc import AsyncIterator

import httpx
import orjson
import pytest

from app.domain.access import Role
from tests.support.serving import ROOT_KEY, Node, served

PIECE = 100_000
WITHIN_S = 60


@pytest.fixture
async def node() -> AsyncIterator[Node]:
    """A served engine."""
    async with served() as node:
        yield node


async def begin(node: Node, path: str, credential: str | None, *, kind: str = "application/json") -> tuple[int, str]:
    """Status and code of what is answered to the first piece of a large body, with no more of it sent."""
    reader, writer = await asyncio.open_connection("127.0.0.1", node.port)
    lines = [f"POST {path} HTTP/1.1", "Host: a", f"Content-Type: {kind}", f"Content-Length: {10 * PIECE}"]
    if credential is not None:
        lines.append(f"Authorization: Bearer {credential}")
    try:
        writer.write("\r\n".join([*lines, "", ""]).encode() + b"[" * PIECE)
        async with asyncio.timeout(WITHIN_S):
            status = int((await reader.readline()).split()[1])
            size = 0
            while (line := await reader.readline()) != b"\r\n":
                name, _, value = line.partition(b":")
                size = int(value) if name.lower() == b"content-length" else size
            return status, orjson.loads(await reader.readexactly(size))["code"]
    finally:
        writer.close()


@pytest.mark.parametrize(
    "path",
    [
        *("/v1/operator/tasks", "/v1/operator/tokens", "/v1/operator/sessions", "/v1/admin/keys"),
        *("/v1/worker/submit", "/v1/worker/output", "/v1/worker/claim"),
    ],
)
async def test_a_large_body_is_refused_before_it_is_read(node: Node, path: str) -> None:
    """Without a credential, and with one of each kind that never was: 401 while most of the body is still to come."""
    forged = (await node.attach())[:-4] + "AAAA"
    for credential in (None, "shk_" + "0" * 40, node.engine.parts.mint.new(0), forged):
        kind = "text/plain" if path.endswith("submit") else "application/json"
        assert await begin(node, path, credential, kind=kind) == (401, "unauthenticated")


async def test_a_large_body_of_somebody_known_is_taken_and_costs_one_use(node: Node) -> None:
    """Looking at the credential early spends nothing of it."""
    operator = await node.operator()
    task_id, worker = await node.worker(operator)
    body = {"agent_id": "w", "role": Role.WORKER.value, "ttl": 60, "max_uses": 1, "task_id": task_id}
    once = node.as_((await operator.post("/v1/operator/tokens", json=body)).json()["token"])
    large = "x" * 5 * PIECE

    assert (await node.as_(ROOT_KEY).post("/v1/admin/keys", json={"name": large, "roles": []})).status_code == 422
    assert (await once.post("/v1/worker/output", json={"type": "partial", "chunk": large})).status_code == 204
    assert (await once.post("/v1/worker/output", json={"type": "partial", "chunk": large})).status_code == 401
    assert (await worker.post("/v1/worker/submit", content=large)).status_code == 204


@pytest.mark.parametrize(
    "spawner",
    [
        {"kind": "process", "program": "none"},
        {"kind": "in_process", "function": "none"},
        {"kind": "http", "url": "http://127.0.0.1/"},
    ],
    ids=lambda spawner: spawner["kind"],
)
async def test_what_may_be_started_is_told_to_those_who_may_start_it(node: Node, spawner: dict[str, object]) -> None:
    """A spawner that cannot be built is no way around the credential, the role, the task, and what a worker may use."""
    operator = await node.operator()
    task_id, worker = await node.worker(operator)
    child = (await worker.post("/v1/worker/tasks", json={"agent": "a", "initial_directive": "d"})).json()["id"]
    order = {"spawner": spawner}

    async def code(caller: httpx.AsyncClient, path: str) -> str:
        return (await caller.post(f"{path}/dispatch", json=order)).json()["code"]

    assert await code(node.as_(None), f"/v1/operator/tasks/{task_id}") == "unauthenticated"
    assert await code(node.as_("x.y.z"), f"/v1/operator/tasks/{task_id}") == "unauthenticated"
    assert await code(node.as_(node.engine.parts.mint.new(0)), f"/v1/worker/tasks/{task_id}") == "unauthenticated"
    assert await code(await node.operator(Role.OBSERVER), f"/v1/operator/tasks/{task_id}") == "role-violation"
    assert await code(worker, f"/v1/worker/tasks/{task_id}") == "token-task-mismatch"
    refused = await worker.post(f"/v1/worker/tasks/{child}/dispatch", json=order)
    assert refused.json()["code"] == "dispatch-failed"
    assert "a worker may not" in refused.text
    assert await code(operator, f"/v1/operator/tasks/{task_id}") == "dispatch-failed"
