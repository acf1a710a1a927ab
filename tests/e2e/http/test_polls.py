"""Parked requests: woken by what they wait for, ended by their client, answered when the server stops."""

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime

import httpx
import pytest

from app.domain.access import Role
from swarmhold import Job, SwarmholdClient
from swarmhold.models.spawners import QueueSpawner
from tests.conftest import StartServer
from tests.support.serving import ROOT_KEY, Node, served
from tests.support.waiting import eventually

OP, WORK, SENIOR = "/v1/operator", "/v1/worker", "/v1/senior"
HOLD_S = 3
SOON_S = 30
"""A second, and what a busy machine needs."""


@pytest.fixture
async def node(store_url: str) -> AsyncIterator[Node]:
    """A node."""
    async with served(store_url=store_url) as node:
        yield node


async def parked(node: Node, count: int = 1) -> None:
    """Wait until so many requests wait."""
    await eventually(lambda: node.parked >= count, awaited=f"{count} parked requests")


async def test_a_poll_is_answered_by_the_final(node: Node) -> None:
    """200 with the settled task, as soon as it is settled."""
    operator = await node.operator()
    task, worker = await node.worker(operator)
    polling = asyncio.create_task(operator.get(f"{OP}/tasks/{task}/poll?hold=30"))
    await parked(node)

    assert (await worker.post(f"{WORK}/submit", json={"n": 1})).status_code == 204
    reply = await polling

    assert reply.status_code == 200
    assert (reply.json()["status"], reply.json()["last_result"]) == ("pass", {"n": 1})
    assert reply.headers["ETag"] == f'"{reply.json()["version"]}"'


async def test_a_poll_whose_hold_ends_is_202_with_the_task(node: Node) -> None:
    """Also with no hold at all."""
    operator = await node.operator()
    task, _ = await node.worker(operator)

    for hold in ("0", "0.05"):
        reply = await operator.get(f"{OP}/tasks/{task}/poll?hold={hold}")
        assert (reply.status_code, reply.json()["status"]) == (202, "running")


async def test_a_poll_since_a_version_is_answered_by_any_change(node: Node) -> None:
    """An interim result is one."""
    operator = await node.operator()
    task, _ = await node.worker(operator)
    version = (await operator.get(f"{OP}/tasks/{task}")).json()["version"]
    polling = asyncio.create_task(operator.get(f"{OP}/tasks/{task}/poll?hold=30&since={version}"))
    await parked(node)

    assert (await operator.post(f"{OP}/tasks/{task}/result", json={"value": "half"})).status_code == 204
    reply = await polling

    assert reply.status_code == 200
    assert reply.json()["version"] > version
    assert reply.json()["last_result"] == "half"


async def test_a_question_is_awaited_until_it_is_answered(node: Node) -> None:
    """By its worker and by an operator alike; 202 while it is open."""
    operator, senior = await node.operator(), await node.operator(Role.SENIOR)
    _, worker = await node.worker(operator)
    key = (await worker.post(f"{WORK}/questions", json={"question": "?"})).json()["key"]
    assert (await worker.get(f"{WORK}/questions/{key}?hold=0")).status_code == 202
    waiting = [
        asyncio.create_task(worker.get(f"{WORK}/questions/{key}?hold=30")),
        asyncio.create_task(operator.get(f"{OP}/questions/{key}?hold=30")),
    ]
    await parked(node, 2)

    assert (await senior.post(f"{SENIOR}/questions/{key}/answer", json={"value": None})).status_code == 200

    for reply in await asyncio.gather(*waiting):
        question = reply.json()
        assert (reply.status_code, question["status"], question["answer"]) == (200, "answered", None)
        assert question["answered_by"] == "tester"


async def test_a_client_that_leaves_frees_its_request(node: Node) -> None:
    """Nothing waits for nobody."""
    operator = await node.operator()
    task, _ = await node.worker(operator)
    async with httpx.AsyncClient(base_url=node.url, headers=operator.headers, trust_env=False) as leaving:
        polling = asyncio.create_task(leaving.get(f"{OP}/tasks/{task}/poll?hold=3600", timeout=60))
        await parked(node)
        polling.cancel()
        await asyncio.gather(polling, return_exceptions=True)

    await eventually(lambda: node.parked == 0, awaited="no parked request")


@pytest.mark.parametrize("path", [f"{WORK}/claim", f"{OP}/questions/{{key}}", f"{OP}/tasks/{{task}}/poll"])
async def test_a_client_that_leaves_is_no_fault_of_the_server(node: Node, path: str) -> None:
    """It is counted apart, on routes of both kinds, and nothing is logged as failed."""
    operator = await node.operator()
    task, _ = await node.worker(operator)
    key = (await operator.post(f"{OP}/tasks/{task}/questions", json={"question": "?"})).json()["key"]
    other, _ = await node.worker(operator)
    caller = node.as_(ROOT_KEY) if path.endswith("claim") else operator
    url, body = path.format(key=key, task=other), {"queue": "q", "hold": 60} if path.endswith("claim") else None
    leaving = asyncio.create_task(caller.request("POST" if body else "GET", url, json=body))
    await parked(node)
    leaving.cancel()
    await asyncio.gather(leaving, return_exceptions=True)
    route = path.replace("{task}", "{task_id}")

    def counted() -> bool:
        text = node.application.context.metrics.text().decode()
        return f'route="{route}",status="499"' in text

    await eventually(counted, awaited="the request to be counted as left")
    assert 'status="500"' not in node.application.context.metrics.text().decode()


async def test_a_stopping_server_answers_what_is_parked(node: Node) -> None:
    """Polls with 202, claims with 204, dispatches with 503; none is cut off."""
    operator, claimer = await node.operator(), node.as_(ROOT_KEY)
    task, worker = await node.worker(operator)
    other = (await operator.post(f"{OP}/tasks", json={"agent": "a", "initial_directive": "d"})).json()["id"]
    key = (await worker.post(f"{WORK}/questions", json={"question": "?"})).json()["key"]
    dispatch = operator.post(f"{OP}/tasks/{other}/dispatch?wait=60", json={"spawner": {"kind": "external"}})
    waiting = [
        asyncio.create_task(operator.get(f"{OP}/questions/{key}?hold=60")),
        asyncio.create_task(operator.get(f"{OP}/tasks/{other}/poll?hold=60")),
        asyncio.create_task(claimer.post(f"{WORK}/claim", json={"queue": "q", "hold": 60})),
        asyncio.create_task(dispatch),
    ]
    await parked(node, 4)

    node.drain()
    replies = await asyncio.gather(*waiting)
    after = await operator.get(f"{OP}/tasks/{other}/poll?hold=60")

    assert [reply.status_code for reply in replies] == [202, 202, 204, 503]
    assert replies[3].json()["code"] == "shutting-down"
    assert after.status_code == 202
    del task


async def test_a_dispatch_with_wait_gives_the_outcome(node: Node) -> None:
    """200 with the outcome when it ended in time; the 202 of a plain dispatch when not."""
    operator = await node.operator()

    async def dispatch(agent: str, spawner: dict[str, str], wait: float) -> httpx.Response:
        body = {"agent": agent, "initial_directive": "echo"}
        task = (await operator.post(f"{OP}/tasks", json=body)).json()["id"]
        return await operator.post(f"{OP}/tasks/{task}/dispatch?wait={wait}", json={"spawner": spawner})

    ended = await dispatch("a", {"kind": "in_process", "function": "identity"}, 20)
    running = await dispatch("a", {"kind": "external"}, 0.05)

    assert (ended.status_code, ended.json()["outcome"]) == (200, "pass")
    assert "echo" in str(ended.json()["value"])
    assert running.status_code == 202
    assert running.json()["worker_handle"].startswith("wh-")


async def test_a_reply_has_the_date_at_which_it_was_sent(start_server: StartServer) -> None:
    """Not that of its request: clients judge the server's clock by it, and when to renew a lease."""
    server = await asyncio.to_thread(start_server)
    body = {"queue": "empty", "hold": HOLD_S}
    headers = {"Authorization": f"Bearer {server.root_key()}"}
    async with httpx.AsyncClient(base_url=server.url, trust_env=False, timeout=60) as client:
        asked_at = datetime.now(UTC)
        reply = await client.post("/v1/worker/claim", json=body, headers=headers)
        answered_at = datetime.now(UTC)

    assert reply.status_code == 204
    sent_at = parsedate_to_datetime(reply.headers["Date"])
    # The header counts whole seconds.
    assert asked_at + timedelta(seconds=HOLD_S - 1) <= sent_at <= answered_at


async def test_a_claim_is_answered_by_a_dispatch(node: Node) -> None:
    """200 with handle, prompt, lease and base URL; 204 when nothing came."""
    operator, claimer = await node.operator(), node.as_(ROOT_KEY)
    assert (await claimer.post(f"{WORK}/claim", json={"queue": "q", "hold": 0})).status_code == 204
    claiming = asyncio.create_task(claimer.post(f"{WORK}/claim", json={"queue": "q", "hold": 30, "agents": ["a"]}))
    await parked(node)
    task = (await operator.post(f"{OP}/tasks", json={"agent": "a", "initial_directive": "d"})).json()["id"]

    queued = await operator.post(f"{OP}/tasks/{task}/dispatch", json={"spawner": {"kind": "queue", "queue": "q"}})
    claim = await claiming

    assert queued.status_code == 202
    assert "worker_handle" not in queued.json()
    job = claim.json()
    assert (claim.status_code, job["task_id"], job["prompt"], job["attempt"]) == (200, task, "d", 1)
    assert job["base_url"].startswith("http")
    assert job["lease_expires_at"].endswith("Z")
    assert (await node.as_(job["worker_handle"]).post(f"{WORK}/submit", content="done")).status_code == 204


async def test_a_cancelled_queue_worker_hears_of_it_at_once() -> None:
    """Long before its next heartbeat, which is minutes away: its function is cancelled while it waits."""
    begun, stopped = asyncio.Event(), asyncio.Event()

    async def work(job: Job) -> None:
        del job
        begun.set()
        try:
            await asyncio.get_running_loop().create_future()
        finally:
            stopped.set()

    async with served() as node, SwarmholdClient(node.url) as client:
        operator = client.operator(await node.attach())
        task = await operator.start_task("coder", "x")
        await operator.dispatch(task.id, QueueSpawner(queue="q"))
        loop = client.queue_worker(ROOT_KEY, "q", work, heartbeat=timedelta(minutes=5))
        running = asyncio.create_task(loop.run())
        async with asyncio.timeout(60):
            await begun.wait()
        await operator.cancel(task.id)
        async with asyncio.timeout(SOON_S):
            await stopped.wait()
        loop.stop()
        async with asyncio.timeout(60):
            await running
