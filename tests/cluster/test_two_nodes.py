"""A second node that was started with the same settings serves everything of the first."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import httpx
import orjson

from tests.cluster.conftest import OP, ROOT_KEY, SENIOR, WORK, Cluster
from tests.support.speaking import speaking
from tests.support.waiting import eventually

EXTERNAL: dict[str, Any] = {"spawner": {"kind": "external"}}


async def created(client: httpx.AsyncClient, directive: str = "d", **spec: Any) -> str:
    """A pending task."""
    reply = await client.post(f"{OP}/tasks", json={"agent": "a", "initial_directive": directive, **spec})
    assert reply.status_code == 201, reply.text
    return reply.json()["id"]


async def dispatched(client: httpx.AsyncClient, task: str, **body: Any) -> dict[str, Any]:
    """The reply to a dispatch."""
    reply = await client.post(f"{OP}/tasks/{task}/dispatch", json=EXTERNAL | body)
    assert reply.status_code == 202, reply.text
    return reply.json()


async def test_every_step_of_a_task_may_be_on_another_node(cluster: Cluster) -> None:
    """Session, task, dispatch, prompt, question, answer, output, Final and poll: each on the other node in turn."""
    first, second = cluster.start(), cluster.start()
    one, two = await cluster.operator(first), await cluster.operator(second)
    assert [item["alive"] for item in await cluster.listed(second)] == [True, True]

    task = await created(one)
    handle = (await dispatched(two, task))["worker_handle"]
    here, there = cluster.as_(first, handle), cluster.as_(second, handle)
    assert (await here.get(f"{WORK}/prompt")).json()["prompt"] == "d"
    assert (await there.post(f"{WORK}/heartbeat")).json()["cancelled"] is False
    key = (await there.post(f"{WORK}/questions", json={"question": "which?"})).json()["key"]
    assert (await one.get(f"{OP}/tasks/{task}")).json()["suspended_on"] == [key]

    waiting = asyncio.ensure_future(here.get(f"{WORK}/questions/{key}?hold=30"))
    senior = cluster.as_(second, await cluster.attach(first, "senior"))
    inbox = (await senior.get(f"{SENIOR}/questions?status=open")).json()["items"]
    assert [item["key"] for item in inbox] == [key]
    assert (await senior.post(f"{SENIOR}/questions/{key}/answer", json={"value": "this"})).status_code < 300
    answered = await waiting
    assert (answered.status_code, answered.json()["answer"]) == (200, "this"), answered.text

    polling = asyncio.ensure_future(one.get(f"{OP}/tasks/{task}/poll?hold=30"))
    assert (await there.post(f"{WORK}/output", json={"type": "progress", "stage": "one"})).status_code < 300
    assert (await there.post(f"{WORK}/submit", content="done")).status_code == 204
    assert (await polling).json()["last_result"] == "done"
    assert (await two.get(f"{OP}/tasks/{task}/attempts/1/output")).json()["items"]


async def test_a_namespace_of_one_node_is_known_to_the_other(cluster: Cluster) -> None:
    """Its first use is at the first node; the second shows by name what lies in it."""
    first, second = cluster.start(), cluster.start()
    operator = cluster.as_(second, await cluster.attach(first, namespace="by-session"))
    task = await created(operator)
    worker = cluster.as_(second, (await dispatched(operator, task))["worker_handle"])
    asked = await worker.post(f"{WORK}/questions", json={"question": "which?"})
    assert asked.json()["namespace"] == "by-session", asked.text
    for listed in ("sessions", "tasks"):
        assert [item["namespace"] for item in (await operator.get(f"{OP}/{listed}")).json()["items"]] == ["by-session"]

    skill = {"name": "s", "description": "d", "agent": "a", "queue": "q", "input_schema": {"type": "object"}}
    for path, body in (("keys", {"name": "k", "roles": ["operator"]}), ("skills", skill)):
        place = f"by-{path}"
        made = await cluster.as_(first, ROOT_KEY).post(f"/v1/admin/{path}", json=body | {"namespace": place})
        assert made.status_code == 201, made.text
        read = await cluster.as_(second, ROOT_KEY).get(f"/v1/admin/{path}", params={"namespace": place})
        assert [item["namespace"] for item in read.json()["items"]] == [place], read.text


async def test_a_claim_that_waits_on_one_node_gets_what_another_queues(cluster: Cluster) -> None:
    """The claim is parked first, then the task comes to the other node."""
    first, second = cluster.start(), cluster.start()
    two = await cluster.operator(second)
    worker = cluster.as_(first, cluster.settings["SWARMHOLD_ROOT_KEY"])
    claiming = asyncio.ensure_future(worker.post(f"{WORK}/claim", json={"queue": "q", "hold": 30}))
    task = await created(two)
    await dispatched(two, task, spawner={"kind": "queue", "queue": "q"})
    claimed = await claiming
    assert claimed.status_code == 200, claimed.text
    assert claimed.json()["task_id"] == task


async def test_a_backend_on_one_node_serves_dispatches_on_another(cluster: Cluster) -> None:
    """It runs attempts and approves spawns of tasks that came to a node to which nobody is connected."""
    first, second = cluster.start(), cluster.start()
    own = {"kind": "main_ai", "operator_backend_id": "ai", "hook_id": "ai", "bridge_id": "ai"}
    token = await cluster.attach(first, **own)
    two = cluster.as_(second, token)
    task = await created(two)
    await dispatched(two, task, spawner={"kind": "operator", "backend_id": "ai"}, layers=["main_ai"])
    async with speaking(first, f"{OP}/backends/ai/ws", token) as ai:
        assert (await ai.receive())["type"] == "welcome"
        before = await ai.receive()
        assert (before["type"], before["task_id"]) == ("hook_before", task)
        await ai.say(type="hook_ack", req_id=before["req_id"], ok=True)
        spawn = await ai.receive()
        assert (spawn["type"], spawn["task_id"]) == ("spawn", task)
        await ai.say(type="spawn_ack", req_id=spawn["req_id"], value="by the backend")
        after = await ai.receive()
        assert after["type"] == "hook_after"
        await ai.say(type="hook_ack", req_id=after["req_id"], ok=True)
        reply = await two.get(f"{OP}/tasks/{task}/poll?hold=20")
        assert reply.json()["last_result"] == "by the backend"

    # Gone here, it comes back there: the next attempt follows it.
    other = await created(two)
    one = cluster.as_(first, token)
    await dispatched(one, other, spawner={"kind": "operator", "backend_id": "ai"})
    async with speaking(second, f"{OP}/backends/ai/ws", token) as ai:
        assert (await ai.receive())["type"] == "welcome"
        spawn = await ai.receive()
        assert (spawn["type"], spawn["task_id"]) == ("spawn", other)
        await ai.say(type="spawn_ack", req_id=spawn["req_id"], value="again")
        assert (await one.get(f"{OP}/tasks/{other}/poll?hold=20")).json()["last_result"] == "again"


async def test_hooks_and_backends_on_several_nodes_take_turns_with_one_attempt(cluster: Cluster) -> None:
    """The attempt goes to the hook's node, then to the backend's, then back; nobody is asked twice."""
    first, second = cluster.start(), cluster.start()
    token = await cluster.attach(first, kind="main_ai", hook_id="hook")
    async with (
        speaking(first, f"{OP}/backends/hook/ws", token) as hook,
        speaking(second, f"{OP}/backends/ai/ws", token) as ai,
    ):
        assert [(await hook.receive())["type"], (await ai.receive())["type"]] == ["welcome", "welcome"]
        two = cluster.as_(second, token)
        task = await created(two)
        await dispatched(two, task, spawner={"kind": "operator", "backend_id": "ai"}, layers=["main_ai"])
        asked = await hook.receive()
        assert asked["type"] == "hook_before"
        await hook.say(type="hook_ack", req_id=asked["req_id"], ok=True)
        spawn = await ai.receive()
        assert spawn["type"] == "spawn"
        await ai.say(type="spawn_ack", req_id=spawn["req_id"], value="done")
        told = await hook.receive()
        assert told["type"] == "hook_after"
        await hook.say(type="hook_ack", req_id=told["req_id"], ok=True)
        assert (await two.get(f"{OP}/tasks/{task}/poll?hold=20")).json()["last_result"] == "done"

        async def is_over() -> bool:
            return (await two.get(f"{OP}/tasks/{task}/attempts/1")).json()["phase"] == "ended"

        await eventually(is_over)
        assert await hook.silent()
        assert await ai.silent()


async def test_a_bridge_gets_what_is_asked_on_another_node_and_one_connection_holds_its_id(cluster: Cluster) -> None:
    """The older connection is closed with 4409, on whichever node it is, and the newer one gets the questions."""
    first, second = cluster.start(), cluster.start()
    senior = await cluster.attach(first, "senior")
    two = await cluster.operator(second)
    async with speaking(first, f"{SENIOR}/bridges/desk/ws", senior) as older:
        assert (await older.receive())["type"] == "welcome"
        task = await created(two)
        handle = (await dispatched(two, task))["worker_handle"]
        asked = await cluster.as_(second, handle).post(f"{WORK}/questions", json={"question": "?", "bridge_id": "desk"})
        key = asked.json()["key"]
        frame = await older.receive()
        assert (frame["type"], frame["key"]) == ("ask", key)
        async with speaking(second, f"{SENIOR}/bridges/desk/ws", senior) as newer:
            assert await newer.receive() == {"type": "welcome", "bridge_id": "desk", "open": 1}
            assert (await newer.receive())["key"] == key
            assert await older.close_code() == 4409
            await newer.say(type="answer", key=key, value="yes")
            assert (await newer.receive())["type"] == "accepted"
            asker = cluster.as_(first, handle)
            assert (await asker.get(f"{WORK}/questions/{key}?hold=20")).json()["answer"] == "yes"


async def test_a_reply_to_another_node_that_is_no_answer_ends_the_review(cluster: Cluster) -> None:
    """At once, long before the call's own end; the question stays open, and the next review asks it again."""
    first, second = cluster.start(), cluster.start()
    asking = {"question": "?", "choices": ["yes", "no"]}
    key = (await (await cluster.operator(first)).post(f"{OP}/questions", json=asking)).json()["key"]
    body = {"name": "judge", "roles": ["senior"], "person": True}
    judge = (await cluster.as_(first, ROOT_KEY).post("/v1/admin/keys", json=body)).json()["key"]
    here, there = cluster.as_(first, judge), cluster.as_(second, judge)
    hello = {
        "protocolVersion": "2025-11-25",
        "capabilities": {"elicitation": {}},
        "clientInfo": {"name": "c", "version": "1"},
    }
    accept = {"Accept": "application/json, text/event-stream"}
    initialize = {"jsonrpc": "2.0", "id": 1, "method": "initialize", "params": hello}
    session = (await there.post("/mcp", json=initialize, headers=accept)).headers["mcp-session-id"]
    headers = accept | {"MCP-Protocol-Version": "2025-11-25", "Mcp-Session-Id": session}
    call = {"jsonrpc": "2.0", "id": 2, "method": "tools/call", "params": {"name": "review", "arguments": {}}}
    declined = [{"result": {"action": "decline"}}, {"error": {"code": -32603, "message": "no form"}}]
    for result in (*declined, {"result": {"action": "accept", "content": {"answer": "maybe"}}}):
        async with asyncio.timeout(300), here.stream("POST", "/mcp", json=call, headers=headers) as reply:
            messages = _messages(reply)
            asked = await anext(messages)
            said = {"jsonrpc": "2.0", "id": asked["id"], **result}
            assert (await there.post("/mcp", json=said, headers=headers)).status_code == 202
            ended = await anext(messages)
        if result in declined:
            assert ended["result"]["structuredContent"]["questions"] == [{"key": key, "status": "open"}]
        else:
            assert "answer-invalid" in ended["result"]["content"][0]["text"]


async def _messages(reply: httpx.Response) -> AsyncIterator[Any]:
    """The messages of a stream."""
    async for line in reply.aiter_lines():
        if line.startswith("data: "):
            yield orjson.loads(line.removeprefix("data: "))
