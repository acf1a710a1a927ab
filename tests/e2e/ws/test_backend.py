"""Operator backends over real sockets: spawns, hooks, questions, reconnects."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest

from app.domain.access import Role
from app.state.tables import ATTEMPTS
from tests.support.serving import Node, served
from tests.support.speaking import Frame, Speaker, speaking
from tests.support.waiting import eventually

OP, WORK = "/v1/operator", "/v1/worker"
SOCKET = f"{OP}/backends/ai/ws"
OWN: dict[str, Any] = {"kind": "main_ai", "operator_backend_id": "ai", "hook_id": "ai", "bridge_id": "ai"}


@pytest.fixture
async def node(store_url: str) -> AsyncIterator[Node]:
    """A node."""
    async with served(store_url=store_url) as node:
        yield node


async def dispatched(operator: httpx.AsyncClient, trace: dict[str, str] | None = None, **body: Any) -> str:
    """A task that was dispatched to the backend."""
    spec = {"agent": "a", "initial_directive": "d"}
    task = (await operator.post(f"{OP}/tasks", json=spec, headers=trace)).json()["id"]
    spawner = {"kind": "operator", "backend_id": "ai"}
    reply = await operator.post(f"{OP}/tasks/{task}/dispatch", json={"spawner": spawner} | body)
    assert reply.status_code == 202, reply.text
    return task


async def settled(operator: httpx.AsyncClient, task: str) -> dict[str, Any]:
    """The task once it is settled."""
    reply = await operator.get(f"{OP}/tasks/{task}/poll?hold=20")
    assert reply.status_code == 200, reply.text
    return reply.json()


async def receive_type(speaker: Speaker, kind: str) -> Frame:
    """The next frame, which is of this type."""
    frame = await speaker.receive()
    assert frame["type"] == kind, frame
    return frame


async def test_a_spawn_hands_over_a_handle_that_works(node: Node) -> None:
    """Started by a bare ack; the worker fetches and submits by itself."""
    token = await node.attach(**OWN)
    operator = node.as_(token)
    async with speaking(node, SOCKET, token) as ai:
        assert await ai.receive() == {"type": "welcome", "bridge_id": "ai", "open": 0}
        task = await dispatched(operator)
        spawn = await receive_type(ai, "spawn")
        await ai.say(type="spawn_ack", req_id=spawn["req_id"])

        assert (spawn["task_id"], spawn["agent"], spawn["attempt"]) == (task, "a", 1)
        assert "trace" not in spawn
        assert spawn["base_url"] in spawn["directive"]
        assert spawn["worker_handle"] in spawn["directive"]
        worker = node.as_(spawn["worker_handle"])
        assert (await worker.get(f"{WORK}/prompt")).json()["prompt"] == "d"
        assert (await worker.post(f"{WORK}/submit", content="done")).status_code == 204
        trace = {"traceparent": "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"}
        await dispatched(operator, trace)
        assert (await receive_type(ai, "spawn"))["trace"] == trace
    assert (await settled(operator, task))["last_result"] == "done"


@pytest.mark.parametrize(
    ("ack", "status"),
    [
        ({"value": {"n": 1}}, "pass"),
        ({"value": None}, "pass"),
        ({"value": "no", "ok": False}, "blocked"),
        ({"ok": False}, "blocked"),
        ({"error": "cannot start"}, "blocked"),
        ({"error": {"why": "x"}, "ok": False}, "blocked"),
    ],
)
async def test_an_ack_with_a_value_an_error_or_not_ok_means_finished(
    node: Node, ack: dict[str, Any], status: str
) -> None:
    """The backend did the work itself, or could not."""
    token = await node.attach(**OWN)
    async with speaking(node, SOCKET, token) as ai:
        await ai.receive()
        task = await dispatched(node.as_(token))
        await ai.say(type="spawn_ack", req_id=(await receive_type(ai, "spawn"))["req_id"], **ack)

        result = await settled(node.as_(token), task)

    assert result["status"] == status
    if status == "pass":
        assert result["last_result"] == ack["value"]
    if "error" in ack:
        assert ("cannot start" if ack["error"] == "cannot start" else "why") in str(result["last_result"])


async def test_what_the_worker_posted_wins_over_the_ack(node: Node) -> None:
    """A late ack with another value changes nothing."""
    token = await node.attach(**OWN)
    async with speaking(node, SOCKET, token) as ai:
        await ai.receive()
        task = await dispatched(node.as_(token))
        spawn = await receive_type(ai, "spawn")
        await node.as_(spawn["worker_handle"]).post(f"{WORK}/submit", content="posted")
        await ai.say(type="spawn_ack", req_id=spawn["req_id"], value="acknowledged")

        assert (await settled(node.as_(token), task))["last_result"] == "posted"
        # Any frame's reply shows that the ack was taken before.
        frames = [await ai.ask_and_receive(type="ping")]
        while frames[-1]["type"] != "pong":
            frames.append(await ai.receive())
    assert (await settled(node.as_(token), task))["last_result"] == "posted"


async def test_hooks_agree_before_and_are_notified_after(node: Node) -> None:
    """Until the hook agrees the handle cannot be used; at the end the hook is notified of the result."""
    token = await node.attach(**OWN)
    operator = node.as_(token)
    async with speaking(node, SOCKET, token) as ai:
        await ai.receive()
        task = (await operator.post(f"{OP}/tasks", json={"agent": "a", "initial_directive": "d"})).json()["id"]
        body = {"spawner": {"kind": "external"}, "layers": ["main_ai"]}
        worker = node.as_((await operator.post(f"{OP}/tasks/{task}/dispatch", json=body)).json()["worker_handle"])
        before = await receive_type(ai, "hook_before")
        early = await worker.get(f"{WORK}/prompt")
        await ai.say(type="hook_ack", req_id=before["req_id"], ok=True)

        async def started() -> bool:
            return (await worker.get(f"{WORK}/prompt")).status_code == 200

        await eventually(started)
        await worker.post(f"{WORK}/submit", content="done")
        after = await receive_type(ai, "hook_after")
        await ai.say(type="hook_ack", req_id=after["req_id"], ok=True)

    assert (early.status_code, early.json()["code"]) == (409, "not-started")
    assert (before["task_id"], before["agent"], before["attempt"]) == (task, "a", 1)
    assert after["result"] == {"outcome": "pass", "value": "done", "reason": "final"}


async def test_a_hook_that_refuses_blocks_with_its_reason(node: Node) -> None:
    """Nothing is spawned."""
    token = await node.attach(**OWN)
    operator = node.as_(token)
    async with speaking(node, SOCKET, token) as ai:
        await ai.receive()
        task = await dispatched(operator, layers=["main_ai"])
        before = await receive_type(ai, "hook_before")
        await ai.say(type="hook_ack", req_id=before["req_id"], ok=False, reason="not on a Friday")
        result = await settled(operator, task)

    assert result["status"] == "blocked"
    assert "not on a Friday" in str(result["last_result"])


async def test_a_spawn_waits_for_its_backend_and_comes_again_on_reconnect(node: Node) -> None:
    """With a fresh handle for the same attempt; both handles are good, and a late ack of the first counts."""
    token = await node.attach(**OWN)
    operator = node.as_(token)
    task = await dispatched(operator)
    async with speaking(node, SOCKET, token) as ai:
        await ai.receive()
        first = await receive_type(ai, "spawn")
    async with speaking(node, SOCKET, token) as ai:
        await ai.say(type="spawn_ack", req_id=first["req_id"])
        await receive_type(ai, "welcome")
        assert (await ai.receive())["type"] in ("spawn", "pong") if await _comes_again(ai) else True
        for handle in {first["worker_handle"]}:
            assert (await node.as_(handle).get(f"{WORK}/prompt")).json()["attempt"] == 1
    await node.as_(first["worker_handle"]).post(f"{WORK}/submit", content="done")
    assert (await settled(operator, task))["status"] == "pass"


async def _comes_again(ai: Speaker) -> bool:
    """Whether the spawn was sent again although its ack was already there: both are allowed."""
    frame = await ai.ask_and_receive(type="ping")
    return frame["type"] == "spawn"


async def test_a_spawn_that_was_not_acknowledged_is_sent_again(node: Node) -> None:
    """Same attempt, same request, another handle."""
    token = await node.attach(**OWN)
    operator = node.as_(token)
    task = await dispatched(operator)
    spawns: list[Frame] = []
    for _ in range(2):
        async with speaking(node, SOCKET, token) as ai:
            await ai.receive()
            spawns.append(await receive_type(ai, "spawn"))

    assert spawns[0]["req_id"] == spawns[1]["req_id"]
    assert spawns[0]["attempt"] == spawns[1]["attempt"] == 1
    assert spawns[0]["worker_handle"] != spawns[1]["worker_handle"]
    for spawn in spawns:
        assert (await node.as_(spawn["worker_handle"]).get(f"{WORK}/prompt")).status_code == 200
    await operator.post(f"{OP}/tasks/{task}/cancel")


async def test_a_replaced_connection_is_fenced_off(node: Node) -> None:
    """It is closed with 4409; what was asked of it is asked of the newer one."""
    token = await node.attach(**OWN)
    operator = node.as_(token)
    async with speaking(node, SOCKET, token) as older:
        await older.receive()
        task = await dispatched(operator)
        await receive_type(older, "spawn")
        async with speaking(node, SOCKET, token) as newer:
            await newer.receive()
            assert await older.close_code() == 4409
            spawn = await receive_type(newer, "spawn")
            await newer.say(type="spawn_ack", req_id=spawn["req_id"], value="newer")
            assert (await settled(operator, task))["last_result"] == "newer"


async def test_cancelling_reaches_the_backend(node: Node) -> None:
    """It is asked to stop what runs for the attempt."""
    token = await node.attach(**OWN)
    operator = node.as_(token)
    async with speaking(node, SOCKET, token) as ai:
        await ai.receive()
        task = await dispatched(operator)
        spawn = await receive_type(ai, "spawn")
        await ai.say(type="spawn_ack", req_id=spawn["req_id"])
        assert (await operator.post(f"{OP}/tasks/{task}/cancel")).status_code == 200

        cancel = await receive_type(ai, "cancel")

    assert (cancel["task_id"], cancel["attempt"]) == (task, 1)
    assert (await node.as_(spawn["worker_handle"]).post(f"{WORK}/submit", content="x")).json()["code"] == "cancelled"


async def test_a_backend_answers_what_is_addressed_to_it(node: Node) -> None:
    """Its session's questions come to its bridge, and its answer counts."""
    token = await node.attach(**OWN)
    operator = node.as_(token)
    async with speaking(node, SOCKET, token) as ai:
        await ai.receive()
        _, worker = await node.worker(operator)
        key = (await worker.post(f"{WORK}/questions", json={"question": "?"})).json()["key"]
        assert (await receive_type(ai, "ask"))["key"] == key
        assert await ai.ask_and_receive(type="answer", key=key, value=1) == {"type": "accepted", "key": key}


async def test_a_backend_answers_what_is_addressed_to_the_id_that_it_holds(node: Node) -> None:
    """Whatever its session says of ids; what is addressed to another id stays another's."""
    operator = await node.operator()
    async with speaking(node, SOCKET, await node.attach()) as ai:
        await ai.receive()
        keys: list[str] = []
        for bridge in ("ai", "other"):
            task, _ = await node.worker(operator)
            asked = await operator.post(f"{OP}/tasks/{task}/questions", json={"question": "?", "bridge_id": bridge})
            keys.append(asked.json()["key"])
        assert (await receive_type(ai, "ask"))["key"] == keys[0]
        assert await ai.ask_and_receive(type="answer", key=keys[0], value=1) == {"type": "accepted", "key": keys[0]}
        rejected = await ai.ask_and_receive(type="answer", key=keys[1], value=1)
        assert (rejected["type"], rejected["code"]) == ("rejected", "role-violation")


async def test_all_registries_know_the_backend_while_it_is_there(node: Node) -> None:
    """One connection, three registries."""
    token = await node.attach(**OWN)
    operator = node.as_(token)

    async def ids() -> list[list[str]]:
        registry = (await operator.get(f"{OP}/registry")).json()
        return [registry[name] for name in ("senior_bridges", "spawn_hooks", "operators")]

    async with speaking(node, SOCKET, token) as ai:
        await ai.receive()
        await eventually(lambda: _equal(ids, [["ai"]] * 3))
    await eventually(lambda: _equal(ids, [[]] * 3))


async def _equal(read: Any, wanted: Any) -> bool:
    return await read() == wanted


@pytest.mark.parametrize("role", [Role.OBSERVER, Role.SENIOR])
async def test_only_operators_are_backends(node: Node, role: Role) -> None:
    """4403 for every other role, workers included."""
    async with speaking(node, SOCKET, await node.attach(role)) as ai:
        assert await ai.close_code() == 4403
    _, worker = await node.worker(await node.operator())
    async with speaking(node, SOCKET, worker.headers["Authorization"].removeprefix("Bearer ")) as ai:
        assert await ai.close_code() == 4403


async def test_frames_for_nobody_are_harmless(node: Node) -> None:
    """Acks of requests that were never made, twice, and errors that name their request."""
    async with speaking(node, SOCKET, await node.attach(**OWN)) as ai:
        await ai.receive()
        for _ in range(2):
            await ai.say(type="hook_ack", req_id="none", ok=True)
            await ai.say(type="spawn_ack", req_id="none", value=1)
        bad = await ai.ask_and_receive(type="hook_ack", req_id="r", ok="yes")
        assert (bad["code"], bad["req_id"]) == ("invalid-frame", "r")
        assert await ai.silent()


async def test_many_spawns_at_once(node: Node) -> None:
    """Each request finds its own ack, in whatever order they come."""
    token = await node.attach(**OWN)
    operator = node.as_(token)
    async with speaking(node, SOCKET, token) as ai:
        await ai.receive()
        tasks = await asyncio.gather(*(dispatched(operator) for _ in range(20)))
        spawns = [await receive_type(ai, "spawn") for _ in tasks]
        for spawn in reversed(spawns):
            await ai.say(type="spawn_ack", req_id=spawn["req_id"], value=spawn["task_id"])
        results = await asyncio.gather(*(settled(operator, task) for task in tasks))

    assert [result["last_result"] for result in results] == tasks


@pytest.mark.parametrize("again", [False, True], ids=["same connection", "reconnected"])
async def test_a_started_attempt_is_finished_by_a_later_ack(node: Node, again: bool) -> None:
    """First `started`, then how it went: at once, or by the next connection under the id."""
    token = await node.attach(**OWN)
    operator = node.as_(token)
    async with speaking(node, SOCKET, token) as ai:
        await ai.receive()
        task = await dispatched(operator)
        req_id = (await receive_type(ai, "spawn"))["req_id"]
        await ai.say(type="spawn_ack", req_id=req_id)
        await ai.say(type="spawn_ack", req_id=req_id)
        if not again:
            await ai.say(type="spawn_ack", req_id=req_id, value={"n": 1})
            result = await settled(operator, task)
        else:

            async def recorded() -> bool:
                attempt = await node.engine.with_state("look", lambda state: ATTEMPTS.get(state.db, task, 1))
                return attempt is not None and attempt.process is not None

            await eventually(recorded, awaited="the start to be recorded")
    if again:
        async with speaking(node, SOCKET, token) as ai:
            await ai.receive()
            await ai.say(type="spawn_ack", req_id=req_id, ok=False, error="gave up")
            result = await settled(operator, task)

    assert result["status"] == ("blocked" if again else "pass")
    assert result["last_result"] == ({"reason": "worker-failed", "detail": "gave up"} if again else {"n": 1})


@pytest.mark.parametrize("step", ["spawn", "hook"])
async def test_a_secret_in_what_a_backend_says_of_a_failure_is_kept_nowhere(node: Node, step: str) -> None:
    """Nor anything that a terminal would obey: it is shown in results, attempts and events."""
    token = await node.attach(**OWN)
    operator = node.as_(token)
    async with speaking(node, SOCKET, token) as ai:
        await ai.receive()
        if step == "spawn":
            task = await dispatched(operator)
            spawn = await receive_type(ai, "spawn")
            secret = spawn["worker_handle"]
            await ai.say(type="spawn_ack", req_id=spawn["req_id"], error=f"refused {secret}\x1b[31m")
        else:
            task = await dispatched(operator, spawner={"kind": "external"}, layers=["main_ai"])
            secret = token
            req_id = (await receive_type(ai, "hook_before"))["req_id"]
            await ai.say(type="hook_ack", req_id=req_id, ok=False, reason=f"refused {secret}\x1b[31m")
        shown = str((await settled(operator, task))["last_result"])

    attempt = (await operator.get(f"{OP}/tasks/{task}/attempts/1")).text
    events = str(await node.engine.event_tx.page(0))
    assert f"refused {secret[:3]}[redacted]" in shown
    assert "\x1b" not in shown
    assert secret not in shown + attempt + events
