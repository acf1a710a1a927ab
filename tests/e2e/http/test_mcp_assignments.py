"""A worker that has nothing but its API key: it claims and works through the MCP door, and holds no handle."""

from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import orjson
import pytest
from mcp.client import Client

from app.domain.access import Role
from app.engine.engine import Engine
from app.engine.ops.rules import EngineCfg
from app.engine.parts import default_parts
from tests.support.mcp_clients import links, plain, problem, read, value
from tests.support.serving import ROOT_KEY, Node, served

BY_KEY = ["ask_human", "get_answer", "claim_assignment", "get_assignment", "report_progress", "submit_result"]


@pytest.fixture
async def node() -> AsyncIterator[Node]:
    """A served engine with its MCP door."""
    async with served() as node:
        yield node


async def queued(node: Node, queue: str, directive: str = "work") -> str:
    """The id of a task that waits in a queue."""
    operator = await node.operator()
    task_id = (await operator.post("/v1/operator/tasks", json={"agent": "a", "initial_directive": directive})).json()[
        "id"
    ]
    dispatched = await operator.post(
        f"/v1/operator/tasks/{task_id}/dispatch", json={"spawner": {"kind": "queue", "queue": queue}}
    )
    assert dispatched.status_code == 202, dispatched.text
    return task_id


async def claimed(client: Client, queue: str, **more: Any) -> Any:
    """What a claim returned; no handle is in it."""
    result = await client.call_tool("claim_assignment", {"queue": queue, "hold": 0, **more})
    assert "wh-" not in result.model_dump_json()
    return value(result)


@pytest.mark.parametrize("mode", ["auto", "legacy"])
async def test_a_key_works_from_claim_to_result(node: Node, mode: str) -> None:
    """It asks, reads the answer, and submits once; each call is a connection of its own."""
    key, queue = await node.key(f"worker-{mode}", Role.WORKER), f"q-{mode}"
    senior = await node.operator(Role.SENIOR)
    async with plain(node, key, mode) as client:
        assert [tool.name for tool in (await client.list_tools()).tools] == BY_KEY
        assert await claimed(client, queue) == {"assignment": None}
        task_id = await queued(node, queue)
        mine = f"{task_id}.1"
        assert await claimed(client, queue) == {"assignment": mine, "agent": "a", "prompt": "work", "answers": []}
    async with plain(node, key, mode) as client:
        got = await client.call_tool("get_assignment", {"assignment": mine})
        assert (value(got)["prompt"], links(got)) == ("work", [f"swarmhold://tasks/{task_id}"])
        assert (await read(client, f"swarmhold://tasks/{task_id}"))["status"] == "running"
        progress = await client.call_tool("report_progress", {"assignment": mine, "stage": "half"})
        assert value(progress) == {"accepted": True, "cancelled": False}
        ask = {"question": "?", "task_id": task_id, "hold": 0, "once": "q"}
        asked = value(await client.call_tool("ask_human", ask))
        answer = {"value": "yes"}
        await senior.post(f"/v1/senior/questions/{asked['key']}/answer", json=answer)
        assert value(await client.call_tool("get_answer", {"key": asked["key"]}))["answer"] == "yes"
        assert value(await client.call_tool("get_assignment", {"assignment": mine}))["answers"][0]["answer"] == "yes"
        value(await client.call_tool("submit_result", {"assignment": mine, "value": {"n": 1}}))
        value(await client.call_tool("submit_result", {"assignment": mine, "value": {"n": 1}}))
        other = await client.call_tool("submit_result", {"assignment": mine, "value": 2})
        assert problem(other) in ("final-conflict", "attempt-superseded")
        late = await client.call_tool("report_progress", {"assignment": mine, "stage": "late"})
        assert problem(late) == "attempt-superseded"
    reader = await node.operator()
    task = (await reader.get(f"/v1/operator/tasks/{task_id}")).json()
    assert (task["status"], task["last_result"]) == ("pass", {"n": 1})


async def test_a_claim_that_is_sent_again_is_the_same(node: Node) -> None:
    """Its reply may be lost; the name of the request finds the assignment."""
    await queued(node, "twice")
    await queued(node, "twice")
    meta: Any = {"io.swarmhold/once": "c1"}
    async with plain(node, await node.key("again", Role.WORKER)) as client:
        asked = {"queue": "twice", "hold": 0}
        first, again = [
            value(await client.call_tool("claim_assignment", asked, meta=meta))["assignment"] for _ in range(2)
        ]
        assert first == again
        assert (await claimed(client, "twice"))["assignment"] not in (first, None)
        assert await claimed(client, "twice", agents=["other"]) == {"assignment": None}


async def test_an_assignment_is_the_key_s_that_claimed_it(node: Node) -> None:
    """For any other key it never was, and so are names that nobody claimed; a handle has its own and no other."""
    task_id = await queued(node, "own")
    other_task, worker = await node.worker(await node.operator())
    handle = worker.headers["Authorization"].removeprefix("Bearer ")
    body = {"name": "foreign", "roles": ["worker"], "namespace": "foreign"}
    foreign = (await node.as_(ROOT_KEY).post("/v1/admin/keys", json=body)).json()["key"]
    async with plain(node, await node.key("owner", Role.WORKER)) as client:
        mine = (await claimed(client, "own"))["assignment"]
        calls: tuple[tuple[str, dict[str, Any]], ...] = (
            ("get_assignment", {}),
            ("report_progress", {"stage": "x"}),
            ("submit_result", {"value": 1}),
        )
        for credential in (await node.key("thief", Role.WORKER), foreign, handle):
            async with plain(node, credential) as thief:
                for tool, given in calls:
                    replies = [
                        orjson.loads(reply.content[0].text.replace(name, "…"))  # type: ignore[union-attr]
                        for name in (mine, "T-" + "0" * 26 + ".1")
                        for reply in [await thief.call_tool(tool, {"assignment": name, **given})]
                    ]
                    assert replies[0] == replies[1], tool
                    assert replies[0]["code"] == "attempt-not-found"
                asked = await thief.call_tool("ask_human", {"question": "?", "task_id": task_id, "hold": 0})
                assert problem(asked) == "attempt-not-found"
        for name in (f"{task_id}.2", f"{other_task}.1", "T-1.1", "x", f"{task_id}.{'9' * 30}"):
            assert problem(await client.call_tool("get_assignment", {"assignment": name})) == "attempt-not-found"
        for tool, given in calls:
            assert problem(await client.call_tool(tool, given)) == "invalid-body"
        assert value(await client.call_tool("get_assignment", {"assignment": mine}))["prompt"] == "work"
    async with plain(node, handle) as client:
        assert value(await client.call_tool("get_assignment", {"assignment": f"{other_task}.1"}))["prompt"]


async def test_a_revoked_key_works_on_nothing(node: Node) -> None:
    """Its assignment ends as the handle's would, and its calls are refused at the edge."""
    task_id = await queued(node, "revoked")
    root = node.as_(ROOT_KEY)
    text = await node.key("fired", Role.WORKER)
    async with plain(node, text) as client:
        assert (await claimed(client, "revoked"))["assignment"] == f"{task_id}.1"
    [row] = [key for key in (await root.get("/v1/admin/keys")).json()["items"] if key["name"] == "fired"]
    assert (await root.delete(f"/v1/admin/keys/{row['id']}")).status_code == 204
    ping = {"jsonrpc": "2.0", "id": 1, "method": "ping"}
    accept = {"Accept": "application/json, text/event-stream"}
    assert (await node.as_(text).post("/mcp", json=ping, headers=accept)).status_code == 401
    attempt = (await (await node.operator()).get(f"/v1/operator/tasks/{task_id}/attempts/1")).json()
    assert attempt["reason"] == "lost"


@pytest.mark.one_node("it starts another server on the SQLite file of the first")
async def test_another_server_knows_the_assignment(tmp_path: Path) -> None:
    """Nothing of it is kept in the process that gave it: after a restart the key and the name are enough."""
    url, cfg = str(tmp_path / "swarm.db"), EngineCfg()
    first = default_parts(cfg, store_url=url)
    async with served(engine=Engine(first)) as node:
        key = await node.key("lasting", Role.WORKER)
        task_id = await queued(node, "q")
        async with plain(node, key) as client:
            mine = (await claimed(client, "q"))["assignment"]
    second = replace(
        default_parts(cfg), open_store=first.open_store, signer=first.signer, mint=first.mint, seal=first.seal
    )
    async with served(engine=Engine(second)) as node:
        async with plain(node, key) as client:
            assert value(await client.call_tool("get_assignment", {"assignment": mine}))["prompt"] == "work"
            value(await client.call_tool("submit_result", {"assignment": mine, "value": "done"}))
        task = (await (await node.operator()).get(f"/v1/operator/tasks/{task_id}")).json()
        assert task["last_result"] == "done"
