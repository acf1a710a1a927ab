"""Names at the edge: every place that takes a new one refuses what nobody can see."""

from collections.abc import AsyncIterator
from typing import Any
from urllib.parse import quote

import pytest
from websockets.asyncio.client import connect
from websockets.exceptions import InvalidStatus

from app.domain.access import Role
from app.state.tables import ATTEMPTS
from tests.support.serving import ROOT_KEY, Node, served

OP, WORK, ADMIN = "/v1/operator", "/v1/worker", "/v1/admin"
TASK: dict[str, Any] = {"agent": "a", "initial_directive": "d"}
BAD = ["a\u202eb", "\u200ba", "a\u2028b", " a", "a ", "\ue000", "x" * 201, ""]


@pytest.fixture
async def node() -> AsyncIterator[Node]:
    """A served engine over a store in memory."""
    async with served() as node:
        yield node


@pytest.mark.parametrize("bad", BAD)
async def test_every_new_name_is_checked(node: Node, bad: str) -> None:
    """Agents, labels, keys, queues, ids, operator_id, worker_name, resources: 422, wherever they are given."""
    root = node.as_(ROOT_KEY)
    operator = await node.operator()
    task_id, worker = await node.worker(operator)
    idle = (await operator.post(f"{OP}/tasks", json=TASK)).json()["id"]
    session = {"operator_id": "o", "ttl": 60}
    question = {"question": "?", "deadline": "2099-01-01T00:00:00Z", "on_deadline": "escalate", "escalate_to": "b"}
    mint = {"agent_id": "a", "role": "worker", "ttl": 60}
    calls = {
        "agent": operator.post(f"{OP}/tasks", json=TASK | {"agent": bad}),
        "agent of a worker": worker.post(f"{WORK}/tasks", json=TASK | {"agent": bad}),
        "label": operator.post(f"{OP}/tasks", json=TASK | {"labels": {bad: "v"}}),
        "value": operator.post(f"{OP}/tasks", json=TASK | {"labels": {"k": bad}}),
        "key": root.post(f"{ADMIN}/keys", json={"name": bad, "roles": ["worker"]}),
        "operator_id": root.post(f"{OP}/sessions", json=session | {"operator_id": bad}),
        "bridge_id": root.post(f"{OP}/sessions", json=session | {"bridge_id": bad}),
        "hook_id": root.post(f"{OP}/sessions", json=session | {"hook_id": bad}),
        "backend_id": root.post(f"{OP}/sessions", json=session | {"operator_backend_id": bad}),
        "kinds": root.post(f"{OP}/sessions", json=session | {"operator_kind_overrides": {bad: "automate"}}),
        "queue": operator.post(f"{OP}/tasks/{idle}/dispatch", json={"spawner": {"kind": "queue", "queue": bad}}),
        "backend": operator.post(
            f"{OP}/tasks/{idle}/dispatch", json={"spawner": {"kind": "operator", "backend_id": bad}}
        ),
        "addressee": worker.post(f"{WORK}/questions", json=question | {"bridge_id": bad}),
        "escalate_to": worker.post(f"{WORK}/questions", json=question | {"escalate_to": bad}),
        "agent_id": operator.post(f"{OP}/tokens", json=mint | {"agent_id": bad}),
        "claim": root.post(f"{WORK}/claim", json={"queue": bad, "hold": 0}),
        "worker_name": root.post(f"{WORK}/claim", json={"queue": "q", "worker_name": bad, "hold": 0}),
    }
    if bad:
        calls["resource"] = operator.put(f"{OP}/resources/{quote(bad)}", json=1)
    for what, call in calls.items():
        reply = await call
        assert reply.status_code == 422, (what, reply.text)
        assert bad.isprintable() or bad not in reply.text, what
    status = (await operator.get(f"{OP}/tasks/{task_id}")).json()["status"]
    assert (status, (await operator.get(f"{OP}/tasks/{idle}")).json()["attempt"]) == ("running", 0)


async def test_labels_of_a_task_have_16_kib(node: Node) -> None:
    """All names and values together."""
    operator = await node.operator()
    labels = {f"{number:04}" + "n" * 196: "v" * 200 for number in range(40)}
    assert (await operator.post(f"{OP}/tasks", json=TASK | {"labels": labels})).status_code == 201
    reply = await operator.post(f"{OP}/tasks", json=TASK | {"labels": labels | {"more": "v" * 200, "n": "v" * 200}})
    assert reply.status_code == 422
    reply = await operator.post(f"{OP}/tasks", json=TASK | {"labels": labels | {"m" * 200: "v" * 200}})
    assert (reply.status_code, reply.json()["field"]) == (422, "labels")


@pytest.mark.parametrize("path", ["/v1/senior/bridges/{}/ws", "/v1/operator/backends/{}/ws"])
async def test_a_socket_cannot_be_opened_under_a_name_that_deceives(node: Node, path: str) -> None:
    """The handshake gets the problem document."""
    token = await node.attach(Role.OPERATOR)
    with pytest.raises(InvalidStatus) as refused:
        async with connect(
            node.websocket_url + path.format("a%E2%80%AEb"), additional_headers={"Authorization": f"Bearer {token}"}
        ):
            pass
    assert refused.value.response.status_code == 422
    assert b"invalid-name" in refused.value.response.body


async def test_a_queue_that_was_named_before_is_emptied(node: Node) -> None:
    """Its attempts can be claimed; only then the name is refused."""
    operator = await node.operator()
    task_id = (await operator.post(f"{OP}/tasks", json=TASK)).json()["id"]
    body = {"spawner": {"kind": "queue", "queue": "old"}}
    assert (await operator.post(f"{OP}/tasks/{task_id}/dispatch", json=body)).status_code == 202
    await node.engine.with_state("name as before", lambda state: ATTEMPTS.update(state.db, task_id, 1, queue="old "))
    claim = {"queue": "old ", "hold": 0}
    claimed = await node.as_(ROOT_KEY).post(f"{WORK}/claim", json=claim)
    assert claimed.json()["task_id"] == task_id
    assert (await node.as_(ROOT_KEY).post(f"{WORK}/claim", json=claim)).status_code == 422
