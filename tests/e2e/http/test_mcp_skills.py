"""Published skills as MCP tools: found by name, checked by schema, carried out by workers of a queue."""

import asyncio
from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Any

import httpx
import orjson
import pytest
from mcp.shared.exceptions import MCPError
from mcp.types import CallToolResult, TextContent

from app.domain.access import Role
from app.http.door_settings import DoorSettings
from app.http.settings import HttpSettings
from tests.support.mcp_clients import about, connected, links, plain, problem, started, value
from tests.support.serving import ROOT_KEY, Node, served
from tests.support.waiting import eventually

TAKES = {"type": "object", "properties": {"name": {"type": "string"}}, "required": ["name"]}
GIVES = {
    "type": "object",
    "properties": {"greeting": {"$ref": "#/$defs/text"}},
    "required": ["greeting"],
    "$defs": {"text": {"type": "string"}},
}
SKILL = {"name": "greet", "description": "Greet somebody.", "agent": "greeter", "queue": "q", "input_schema": TAKES}


@pytest.fixture
async def node() -> AsyncIterator[Node]:
    """A served engine whose doors do not wait."""
    async with served(HttpSettings(doors=DoorSettings(hold=timedelta(0)))) as node:
        yield node


async def publish(node: Node, **changes: Any) -> str:
    """The id of a new skill."""
    reply = await node.as_(ROOT_KEY).post("/v1/admin/skills", json={**SKILL, **changes})
    assert reply.status_code == 201, reply.text
    return reply.json()["id"]


async def claim(node: Node, worker: str) -> tuple[Any, httpx.AsyncClient] | None:
    """A job of the queue, and a client with its handle."""
    reply = await node.as_(worker).post("/v1/worker/claim", json={"queue": "q", "hold": 0})
    if reply.status_code == 204:
        return None
    job = reply.json()
    return job, node.as_(job["worker_handle"])


async def work(node: Node, worker: str, result: Any, *, ok: bool = True) -> Any:
    """Do the next job of the queue; the arguments that it was called with."""
    found = await claim(node, worker)
    assert found is not None
    job, client = found
    submitted = await client.post("/v1/worker/submit", json=result, params={"ok": str(ok).lower()})
    assert submitted.status_code == 204, submitted.text
    return orjson.loads(job["prompt"])


def said(result: CallToolResult) -> str:
    """The text of a result."""
    assert isinstance(result.content[0], TextContent)
    return result.content[0].text


@pytest.mark.parametrize("mode", ["auto", "legacy"])
async def test_a_call_is_carried_out_by_a_worker_of_the_queue(node: Node, mode: str) -> None:
    """Open first, it is found again by the name of its request; then it gives what the worker submitted."""
    await publish(node)
    await publish(node, name="structured", output_schema=GIVES)
    worker = await node.key("worker", Role.WORKER)
    meta: Any = {"io.swarmhold/once": "g1"}
    async with plain(node, await node.key("caller", Role.OPERATOR), mode) as client:
        tools = {tool.name: tool for tool in (await client.list_tools()).tools}
        assert list(tools)[-2:] == ["greet", "structured"]
        assert (tools["greet"].input_schema, tools["greet"].output_schema) == (TAKES, None)
        asked = await client.call_tool("greet", {"name": "World"}, meta=meta)
        assert (value(asked)["open"], links(asked)) == (True, [f"swarmhold://tasks/{value(asked)['task_id']}"])
        assert await work(node, worker, "Hello, World!") == {"name": "World"}
        done = await client.call_tool("greet", {"name": "World"}, meta=meta)
        assert (said(done), done.structured_content, done.is_error) == ("Hello, World!", None, False)
        other = await client.call_tool("greet", {"name": "Moon"}, meta=meta)
        assert problem(other) == "idempotency-mismatch"
        assert await claim(node, worker) is None
        call = {"name": "structured", "arguments": {"name": "World"}, "meta": meta}
        assert value(await client.call_tool(**call))["open"] is True
        await work(node, worker, {"greeting": "Hello"})
        given = await client.call_tool(**call)
        assert (given.structured_content, orjson.loads(said(given))) == ({"greeting": "Hello"}, {"greeting": "Hello"})


async def test_what_does_not_fit_is_an_error_of_the_tool(node: Node) -> None:
    """Arguments that break the schema start nothing; a result that breaks it is none, nor is one that is not ok."""
    await publish(node, output_schema=GIVES)
    worker = await node.key("worker", Role.WORKER)
    async with plain(node, await node.key("caller", Role.OPERATOR)) as client:
        for arguments in ({}, {"name": 1}, None):
            assert problem(await client.call_tool("greet", arguments)) == "invalid-body"
        assert await claim(node, worker) is None
        for result, ok, expected in (
            ({"greeting": 1}, True, "result-invalid"),
            ("text", True, "result-invalid"),
            ({"code": "no-such-person"}, False, "no-such-person"),
        ):
            meta: Any = {"io.swarmhold/once": expected + str(result)}
            await client.call_tool("greet", {"name": "World"}, meta=meta)
            await work(node, worker, result, ok=ok)
            failed = await client.call_tool("greet", {"name": "World"}, meta=meta)
            assert (failed.is_error, orjson.loads(said(failed))["code"]) == (True, expected)


async def test_a_skill_is_a_tool_of_its_namespace_and_roles_alone(node: Node) -> None:
    """For everybody else, and when it is deleted, there is no such tool."""
    skill_id = await publish(node, roles=["operator"])
    await publish(node, name="for_workers", roles=["worker"])
    body = {"name": "elsewhere", "roles": ["operator"], "namespace": "elsewhere"}
    elsewhere = (await node.as_(ROOT_KEY).post("/v1/admin/keys", json=body)).json()["key"]
    _, worker = await node.worker(await node.operator())
    handle = worker.headers["Authorization"].removeprefix("Bearer ")
    operator = await node.key("caller", Role.OPERATOR)
    skills = {"greet", "for_workers"}
    for credential, has in (
        (operator, {"greet"}),
        (handle, {"for_workers"}),
        (await node.key("claimer", Role.WORKER), set[str]()),
        (await node.key("senior", Role.SENIOR), set[str]()),
        (elsewhere, set[str]()),
    ):
        async with plain(node, credential) as client:
            assert {tool.name for tool in (await client.list_tools()).tools} & skills == has
            for name in skills:
                if name in has:
                    assert value(await client.call_tool(name, {"name": "World"}))["open"] is True
                else:
                    with pytest.raises(MCPError):
                        await client.call_tool(name, {"name": "World"})
    assert (await node.as_(ROOT_KEY).delete(f"/v1/admin/skills/{skill_id}")).status_code == 204
    async with plain(node, operator) as client:
        with pytest.raises(MCPError):
            await client.call_tool("greet", {"name": "World"})


async def test_a_call_that_needs_approval_waits_for_a_senior(node: Node) -> None:
    """No worker gets it before; approved it goes on by itself, rejected it is refused with the senior's words."""
    await publish(node, approval="always")
    worker = await node.key("worker", Role.WORKER)
    senior = await node.operator(Role.SENIOR)

    async def decide(task_id: str, decision: dict[str, Any]) -> None:
        [question] = (await senior.get("/v1/senior/questions", params={"task_id": task_id})).json()["items"]
        assert question["action"] == {"name": "greet", "arguments": {"name": "World"}}
        reply = await senior.post(f"/v1/senior/questions/{question['key']}/answer", json={"value": decision})
        assert reply.status_code == 200, reply.text

    async with plain(node, await node.key("caller", Role.OPERATOR)) as client:
        meta: Any = {"io.swarmhold/once": "a"}
        asked = value(await client.call_tool("greet", {"name": "World"}, meta=meta))
        assert (asked["status"], len(asked["waits_for"])) == ("suspended", 1)
        assert await claim(node, worker) is None
        await decide(asked["task_id"], {"decision": "approve"})
        assert await work(node, worker, "Hello") == {"name": "World"}
        assert said(await client.call_tool("greet", {"name": "World"}, meta=meta)) == "Hello"
        meta = {"io.swarmhold/once": "b"}
        asked = value(await client.call_tool("greet", {"name": "World"}, meta=meta))
        await decide(asked["task_id"], {"decision": "reject", "message": "not today"})
        refused = await client.call_tool("greet", {"name": "World"}, meta=meta)
        assert (refused.is_error, orjson.loads(said(refused))["detail"]) == (True, "not today")
        assert await claim(node, worker) is None


async def test_a_call_becomes_a_task_for_clients_that_follow_it(node: Node) -> None:
    """Its result is that of the tool; a skill with task: false is never one."""
    await publish(node, output_schema=GIVES)
    await publish(node, name="at_once", task=False)
    worker = await node.key("worker", Role.WORKER)
    async with connected(node.url, await node.key("caller", Role.OPERATOR)) as client:
        task_id = (await started(client, "greet", name="World"))["taskId"]
        assert (await about(client, "tasks/get", task_id))["status"] == "working"
        await work(node, worker, {"greeting": "Hello"})
        done = await about(client, "tasks/get", task_id)
        assert (done["status"], done["result"]["structuredContent"]) == ("completed", {"greeting": "Hello"})
        failing = (await started(client, "greet", name="World"))["taskId"]
        await work(node, worker, "cannot", ok=False)
        failed = await about(client, "tasks/get", failing)
        assert (failed["status"], failed["result"]["isError"]) == ("completed", True)
        assert failed["result"]["content"][0]["text"] == "cannot"
        broken = (await started(client, "greet", name="World"))["taskId"]
        found = await claim(node, worker)
        assert found is not None
        await found[1].post("/v1/worker/submit", json="broken", params={"failed": "true"})
        failed = await about(client, "tasks/get", broken)
        assert (failed["status"], failed["error"]["data"]) == ("failed", {"code": "worker-failed"})
        assert value(await client.call_tool("at_once", {"name": "World"}))["open"] is True


async def test_a_held_call_returns_with_its_result() -> None:
    """The door's hold is enough for a worker that is quick."""
    async with served(HttpSettings(doors=DoorSettings(hold=timedelta(seconds=50)))) as node:
        await publish(node)
        worker = await node.key("worker", Role.WORKER)
        async with plain(node, await node.key("caller", Role.OPERATOR)) as client:
            held = asyncio.create_task(client.call_tool("greet", {"name": "World"}))
            found = await eventually(lambda: claim(node, worker), awaited="the job")
            assert found is not None
            await found[1].post("/v1/worker/submit", json="Hello")
            assert said(await held) == "Hello"
