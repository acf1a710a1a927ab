"""What carries hints between nodes is away or loses everything: all goes on, only later."""

import asyncio
import contextlib
from collections.abc import AsyncIterator

import psycopg
import pytest

from tests.cluster.conftest import OP, SENIOR, WORK, Cluster
from tests.cluster.test_two_nodes import created, dispatched
from tests.support.nats import running_nats
from tests.support.processes import ServerProcess
from tests.support.waiting import eventually

pytestmark = pytest.mark.chaos

END_HINTS = """
SELECT pg_terminate_backend(pid) FROM pg_stat_activity
WHERE application_name = 'swarmhold hints' AND datname = current_database()
"""
LIVES = 3


async def live(cluster: Cluster, first: ServerProcess, second: ServerProcess) -> None:
    """A life whose every wait is on one node, for what is done on the other."""
    one, two = await cluster.operator(first), await cluster.operator(second)
    senior = cluster.tokens.get("senior") or await cluster.attach(first, "senior")
    cluster.tokens["senior"] = senior
    key = cluster.settings["SWARMHOLD_ROOT_KEY"]
    claiming = asyncio.ensure_future(cluster.as_(second, key).post(f"{WORK}/claim", json={"queue": "q", "hold": 50}))
    task = await created(one)
    await dispatched(one, task, spawner={"kind": "queue", "queue": "q"})
    claimed = await claiming
    assert (claimed.status_code, claimed.json()["task_id"]) == (200, task)
    here, there = (cluster.as_(node, claimed.json()["worker_handle"]) for node in (first, second))
    question = (await here.post(f"{WORK}/questions", json={"question": "?"})).json()["key"]
    waiting = asyncio.ensure_future(there.get(f"{WORK}/questions/{question}?hold=50"))
    answered = await cluster.as_(first, senior).post(f"{SENIOR}/questions/{question}/answer", json={"value": "yes"})
    assert answered.status_code == 200
    assert (await waiting).json()["answer"] == "yes"
    polling = asyncio.ensure_future(two.get(f"{OP}/tasks/{task}/poll?hold=50"))
    assert (await here.post(f"{WORK}/submit", content="done")).status_code == 204
    ended = await polling
    assert (ended.status_code, ended.json()["last_result"]) == (200, "done")


async def is_told(cluster: Cluster, nodes: list[ServerProcess], status: str) -> None:
    """Wait until every node says so, with 200."""

    async def all_say_it() -> bool:
        replies = [await (await cluster.operator(node)).get("/readyz") for node in nodes]
        assert {reply.status_code for reply in replies} == {200}
        return {reply.json()["status"] for reply in replies} == {status}

    await eventually(all_say_it, awaited=f"both nodes to be {status}")


@contextlib.asynccontextmanager
async def without_notifications(url: str) -> AsyncIterator[None]:
    """End each connection for hints as soon as it is there."""

    async def keep_ending() -> None:
        async with await psycopg.AsyncConnection.connect(url, autocommit=True) as connection:
            while True:
                await connection.execute(END_HINTS)
                await connection.execute("SELECT pg_sleep(0.02)")

    ending = asyncio.create_task(keep_ending())
    try:
        yield
    finally:
        ending.cancel()
        await asyncio.gather(ending, return_exceptions=True)


async def test_lives_go_on_while_nats_is_away(cluster: Cluster) -> None:
    """Every wait ends by reading again; nodes say that they are degraded, and are well when it is back."""
    with running_nats() as nats:
        cluster.settings["SWARMHOLD_BUS_URL"] = nats.url
        nodes = [cluster.start(), cluster.start()]
        await live(cluster, *nodes)
        for is_killed in (True, False):
            (nats.kill if is_killed else nats.pause)()
            for number in range(LIVES):
                await live(cluster, *nodes[:: 1 if number % 2 else -1])
            await is_told(cluster, nodes, "degraded")
            (nats.start if is_killed else nats.resume)()
            await is_told(cluster, nodes, "ready")
            await live(cluster, *nodes)


async def test_lives_go_on_while_notifications_are_lost(cluster: Cluster) -> None:
    """The connections for them are cut again and again."""
    nodes = [cluster.start(), cluster.start()]
    async with without_notifications(cluster.settings["SWARMHOLD_DATABASE_URL"]):
        for number in range(LIVES):
            await live(cluster, *nodes[:: 1 if number % 2 else -1])
    await is_told(cluster, nodes, "ready")
    await live(cluster, *nodes)
