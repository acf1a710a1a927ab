"""Ids of bridges, hooks and backends belong to keys, and answers tell by which door they came."""

from collections.abc import AsyncIterator
from typing import Any

import pytest

from app.domain.access import Role
from tests.support.serving import ROOT_KEY, Node, served
from tests.support.speaking import speaking

OP, WORK, SENIOR, ADMIN = "/v1/operator", "/v1/worker", "/v1/senior", "/v1/admin"
DESK = f"{SENIOR}/bridges/desk/ws"
BACKEND = f"{OP}/backends/desk/ws"


@pytest.fixture
async def node(store_url: str) -> AsyncIterator[Node]:
    """A served engine over each kind of store."""
    async with served(store_url=store_url) as node:
        yield node


async def test_another_keys_connection_closes_with_4403_and_leaves_the_owners_alone(node: Node) -> None:
    """As a console and as a backend; attaching with the id is 403, and naming it is free."""
    mine, theirs = await node.key("mine"), await node.key("theirs")
    async with speaking(node, DESK, await node.attach(Role.SENIOR, key=mine)) as desk:
        assert (await desk.receive())["type"] == "welcome"
        for path, role in ((DESK, Role.SENIOR), (BACKEND, Role.OPERATOR)):
            async with speaking(node, path, await node.attach(role, key=theirs)) as stranger:
                assert await stranger.close_code() == 4403
        body = {"operator_id": "x", "ttl": 60, "role": "operator", "bridge_id": "desk"}
        reply = await node.as_(theirs).post(f"{OP}/sessions", json=body)
        assert (reply.status_code, reply.json()["code"], reply.json()["id"]) == (403, "id-taken", "desk")
        assert await desk.silent()

        _, worker = await node.worker(node.as_(await node.attach(key=theirs)))
        asked = await worker.post(f"{WORK}/questions", json={"question": "?", "bridge_id": "desk"})
        assert asked.status_code == 201
        assert (await desk.receive())["key"] == asked.json()["key"]


async def test_root_takes_an_id_and_its_owner_takes_it_back(node: Node) -> None:
    """Each newer connection ends the older with 4409."""
    mine = await node.key("mine")
    root, own = await node.attach(Role.SENIOR), await node.attach(Role.SENIOR, key=mine)
    async with speaking(node, DESK, root) as first:
        assert (await first.receive())["type"] == "welcome"
        async with speaking(node, DESK, own) as second:
            assert await first.close_code() == 4409
            assert (await second.receive())["type"] == "welcome"
            async with speaking(node, DESK, root) as third:
                assert await second.close_code() == 4409
                assert (await third.receive())["type"] == "welcome"
                async with speaking(node, DESK, own) as fourth:
                    assert await third.close_code() == 4409
                    assert (await fourth.receive())["type"] == "welcome"


async def test_a_released_id_closes_its_socket_with_4403(node: Node) -> None:
    """Only the root key releases; the next holder owns it."""
    mine, theirs = await node.key("mine"), await node.key("theirs")
    root = node.as_(ROOT_KEY)
    async with (
        speaking(node, DESK, await node.attach(Role.SENIOR, key=mine)) as desk,
        speaking(node, f"{SENIOR}/bridges/other/ws", await node.attach(Role.SENIOR, key=mine)) as other,
    ):
        for speaker in (desk, other):
            assert (await speaker.receive())["type"] == "welcome"
        assert (await node.as_(mine).delete(f"{ADMIN}/ids/desk")).status_code == 403
        assert (await root.delete(f"{ADMIN}/ids/desk?namespace=default")).status_code == 204
        assert await desk.close_code() == 4403
        assert await other.silent()
    missing = await root.delete(f"{ADMIN}/ids/desk")
    assert (missing.status_code, missing.json()["code"]) == (404, "id-not-found")
    async with speaking(node, DESK, await node.attach(Role.SENIOR, key=theirs)) as desk:
        assert (await desk.receive())["type"] == "welcome"
        async with speaking(node, DESK, await node.attach(Role.SENIOR, key=mine)) as stranger:
            assert await stranger.close_code() == 4403


async def test_an_answer_tells_its_door(node: Node) -> None:
    """`rest` or `ws`, with role, key and session; the asker's own key gets 403 by either."""
    asker, boss = await node.key("asker"), await node.key("boss")
    operator = node.as_(await node.attach(key=asker))
    task_id, worker = await node.worker(operator)

    async def ask() -> str:
        return (await worker.post(f"{WORK}/questions", json={"question": "?"})).json()["key"]

    async def answer(key: str, text: str) -> Any:
        senior = node.as_(await node.attach(Role.SENIOR, name="mira", key=text))
        return await senior.post(f"{SENIOR}/questions/{key}/answer", json={"value": 1})

    by_rest = await ask()
    own = await answer(by_rest, asker)
    assert (own.status_code, own.json()["code"]) == (403, "asker-cannot-answer")
    document = (await answer(by_rest, boss)).json()
    by_socket = await ask()
    async with speaking(node, DESK, await node.attach(Role.SENIOR, key=asker)) as desk:
        await desk.receive_all(2)
        rejected = await desk.ask_and_receive(type="answer", key=by_socket, value=1)
        assert (rejected["type"], rejected["code"]) == ("rejected", "asker-cannot-answer")
    session = await node.attach(Role.SENIOR, name="mira", key=boss)
    async with speaking(node, f"{SENIOR}/bridges/boss/ws", session) as desk:
        await desk.receive_all(2)
        assert (await desk.ask_and_receive(type="answer", key=by_socket, value=1))["type"] == "accepted"

    session_id = (await node.as_(session).get(f"{OP}/session")).json()["id"]
    key_id = document["answered_through"]["key_id"]
    through = {"role": "senior", "key_id": key_id, "key_name": "boss"}
    assert document["answered_by"] == "mira"
    assert document["answered_through"].items() >= {"door": "rest", **through}.items()
    first, second = (await worker.get(f"{WORK}/prompt")).json()["answers"]
    assert first["answered_through"] == document["answered_through"]
    assert second["answered_through"] == {"door": "ws", "session_id": session_id, **through}
    verdict = await operator.post(f"{OP}/tasks/{task_id}/verdict", json={"ok": True})
    assert verdict.status_code == 200
