"""Keys answer for what they do: their names, the labels of their sessions, and what they may not decide."""

from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest

from app.domain.access import Role
from tests.support.serving import ROOT_KEY, Node, served

OP, WORK, SENIOR, ADMIN = "/v1/operator", "/v1/worker", "/v1/senior", "/v1/admin"
KEY: dict[str, Any] = {"name": "k", "roles": [role.value for role in Role]}


@pytest.fixture
async def node(store_url: str) -> AsyncIterator[Node]:
    """A served engine over each kind of store."""
    async with served(store_url=store_url) as node:
        yield node


def problem(reply: httpx.Response, status: int, code: str) -> dict[str, Any]:
    """The problem document of this code."""
    assert (reply.status_code, reply.json()["code"]) == (status, code), reply.text
    return reply.json()


async def test_a_living_keys_name_is_unique(node: Node) -> None:
    """409 until it is revoked; the same idempotency key gets the same key again."""
    root = node.as_(ROOT_KEY)
    once = {"Idempotency-Key": "1"}
    first = (await root.post(f"{ADMIN}/keys", json=KEY, headers=once)).json()
    assert (await root.post(f"{ADMIN}/keys", json=KEY, headers=once)).json()["id"] == first["id"]
    assert problem(await root.post(f"{ADMIN}/keys", json=KEY), 409, "name-taken")["name"] == "k"
    await root.delete(f"{ADMIN}/keys/{first['id']}")
    assert (await root.post(f"{ADMIN}/keys", json=KEY)).status_code == 201


async def test_a_session_is_called_like_its_key_and_never_like_the_server(node: Node) -> None:
    """`operator_id` is optional; `root` is the root key's alone."""
    client = node.as_(await node.key("ci"))
    attached = await client.post(f"{OP}/sessions", json={"ttl": 60})
    assert attached.json()["session"]["operator_id"] == "ci"
    for label in ("deadline", "engine", "root", "server", "swarmhold"):
        reply = await client.post(f"{OP}/sessions", json={"operator_id": label, "ttl": 60})
        assert problem(reply, 422, "invalid-name")["field"] == "operator_id"
    root = node.as_(ROOT_KEY)
    for body in ({"ttl": 60}, {"ttl": 60, "operator_id": "root"}):
        assert (await root.post(f"{OP}/sessions", json=body)).json()["session"]["operator_id"] == "root"
    problem(await root.post(f"{OP}/sessions", json={"operator_id": "engine", "ttl": 60}), 422, "invalid-name")


@pytest.mark.parametrize("person", [False, True])
async def test_a_person_may_answer_what_it_asked(node: Node, person: bool) -> None:
    """With a key of its own; without `person` the key gets 403, for answers as for verdicts that pass the task."""
    body = KEY | {"person": person, "email": "dana@example.org"}
    made = (await node.as_(ROOT_KEY).post(f"{ADMIN}/keys", json=body)).json()
    [listed] = [key for key in (await node.as_(ROOT_KEY).get(f"{ADMIN}/keys")).json()["items"] if not key["root"]]
    assert (listed["person"], listed["email"]) == (person, "dana@example.org")
    operator = node.as_(await node.attach(key=made["key"]))
    senior = node.as_(await node.attach(Role.SENIOR, key=made["key"]))
    task_id, worker = await node.worker(operator)
    asked = (await worker.post(f"{WORK}/questions", json={"question": "?"})).json()

    answered = await senior.post(f"{SENIOR}/questions/{asked['key']}/answer", json={"value": 1})
    if person:
        assert answered.json()["answered_through"]["key_id"] == made["id"]
        return
    assert problem(answered, 403, "asker-cannot-answer")["key"] == asked["key"]
    problem(await operator.post(f"{OP}/tasks/{task_id}/verdict", json={"ok": True}), 403, "asker-cannot-answer")
    problem(
        await senior.post(f"{SENIOR}/tasks/{task_id}/verdict", json={"ok": True, "value": 1}),
        403,
        "asker-cannot-answer",
    )
    assert (await operator.post(f"{OP}/tasks/{task_id}/verdict", json={"ok": False})).status_code == 200


async def test_a_worker_does_not_settle_its_question_by_silence(node: Node) -> None:
    """422 by either route; an operator may."""
    operator = await node.operator()
    task_id, worker = await node.worker(operator)
    question = {
        "question": "?",
        "deadline": "2099-01-01T00:00:00Z",
        "on_deadline": "default",
        "default": "yes",
    }
    problem(await worker.post(f"{WORK}/questions", json=question), 422, "default-refused")
    mint = {"agent_id": "w", "role": "worker", "ttl": 60, "task_id": task_id}
    token = (await operator.post(f"{OP}/tokens", json=mint)).json()["token"]
    problem(await node.as_(token).post(f"{OP}/tasks/{task_id}/questions", json=question), 422, "default-refused")
    assert (await operator.post(f"{OP}/tasks/{task_id}/questions", json=question)).status_code == 201
