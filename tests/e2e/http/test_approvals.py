"""Approvals over the doors: one POST, one GET, and what an asker's credential never does."""

from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import pytest

from app.domain.access import Role
from tests.support.serving import Node, served
from tests.support.speaking import speaking

OP, WORK, SENIOR = "/v1/operator", "/v1/worker", "/v1/senior"
ACTION = {"name": "bash", "arguments": {"command": "make", "n": 1.10}}
APPROVE = {"decision": "approve"}


@pytest.fixture
async def node(store_url: str) -> AsyncIterator[Node]:
    """A served engine over each kind of store."""
    async with served(store_url=store_url) as node:
        yield node


async def test_an_approval_is_asked_for_given_and_consumed(node: Node) -> None:
    """The whole life over REST; without an Idempotency-Key nothing is consumed, and numbers stay as written."""
    asker = await node.operator()
    once = {"Idempotency-Key": "deploy-1"}
    body = b'{"question":"Deploy?","action":{"name":"bash","arguments":{"command":"make","n":1.10}},"approval_ttl":60}'
    sent = {**once, "Content-Type": "application/json"}
    asked = await asker.post(f"{OP}/questions", content=body, headers=sent)
    assert asked.status_code == 201, asked.text
    question = asked.json()
    assert (await asker.post(f"{OP}/questions", content=body, headers=sent)).json()["key"] == question["key"]
    assert b'"n":1.10' in asked.content
    here = f"{OP}/questions/{question['key']}"
    assert (await asker.get(f"{here}?hold=0")).status_code == 202
    digest = {"action_digest": question["action_digest"]}
    assert (await asker.post(f"{here}/consume", json=digest)).status_code == 400
    early = await asker.post(f"{here}/consume", json=digest, headers=once)
    assert (early.status_code, early.json()["code"]) == (409, "not-approved")

    senior = node.as_(await node.attach(Role.SENIOR, key=await node.key("boss")))
    answer = await senior.post(f"{SENIOR}/questions/{question['key']}/answer", json={"value": APPROVE})
    assert answer.status_code == 200, answer.text
    settled = (await asker.get(f"{here}?hold=0")).json()
    assert (settled["status"], settled["answer"]) == ("answered", APPROVE)
    consumed = await asker.post(f"{here}/consume", json=digest, headers=once)
    assert consumed.json() | {"consumed_at": ""} == {
        "consumed_at": "",
        "decision": "approve",
        "action": ACTION,
        **digest,
    }
    assert (await asker.post(f"{here}/consume", json=digest, headers=once)).content == consumed.content
    again = await asker.post(f"{here}/consume", json=digest, headers={"Idempotency-Key": "other"})
    assert (again.status_code, again.json()["code"]) == (409, "already-consumed")
    assert (await asker.post(f"{here}/outcome", json={"status": "succeeded"})).json()["outcome"][
        "status"
    ] == "succeeded"
    late = await asker.post(f"{here}/withdraw", json={})
    assert (late.status_code, late.json()["code"]) == (409, "already-answered")


Relation = Callable[[Node, str, str], Awaitable[str]]


async def own_session(node: Node, key: str, question: str) -> str:
    """The asker's key in a session of a senior."""
    return await node.attach(Role.SENIOR, key=key)


async def own_label(node: Node, key: str, question: str) -> str:
    """The asker's key under another name."""
    return await node.attach(Role.SENIOR, key=key, name="somebody-else")


async def rest(node: Node, credential: str, question: str) -> str:
    """The code of an answer over REST."""
    reply = await node.as_(credential).post(f"{SENIOR}/questions/{question}/answer", json={"value": APPROVE})
    return str(reply.json().get("code", reply.status_code))


async def ws(node: Node, credential: str, question: str) -> str:
    """The code of an answer over a WebSocket."""
    async with speaking(node, f"{SENIOR}/bridges/desk-{abs(hash(credential))}/ws", credential) as desk:
        await desk.receive_all(2)
        frame: dict[str, Any] = await desk.ask_and_receive(type="answer", key=question, value=APPROVE)
        return str(frame.get("code", frame["type"]))


DOORS = {"rest": rest, "ws": ws}
"""Every door by which a question is answered; a new one comes with a row."""
RELATIONS = {"own session": own_session, "own session, other label": own_label}


@pytest.mark.parametrize("door", DOORS)
@pytest.mark.parametrize("relation", RELATIONS)
async def test_an_asker_never_answers_itself(node: Node, door: str, relation: str) -> None:
    """By no door and whatever its credential; the question stays open, and another key answers it by that door."""
    key = await node.key("asker", *Role)
    asker = node.as_(await node.attach(key=key))
    question = (await asker.post(f"{OP}/questions", json={"question": "?", "action": ACTION})).json()["key"]
    credential = await RELATIONS[relation](node, key, question)
    assert await DOORS[door](node, credential, question) == "asker-cannot-answer"
    assert (await asker.get(f"{OP}/questions/{question}?hold=0")).json()["status"] == "open"
    other = await node.attach(Role.SENIOR, key=await node.key("boss", *Role))
    assert await DOORS[door](node, other, question) in ("200", "accepted")
