"""Nodes that are killed, stopped and continued: others go on, and what was replaced changes nothing any more."""

import asyncio
import os
import signal
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.cluster.conftest import OP, WORK, Cluster
from tests.cluster.test_two_nodes import created, dispatched
from tests.support.processes import ServerProcess
from tests.support.waiting import eventually

pytestmark = pytest.mark.chaos

SLEEPER: dict[str, Any] = {"spawner": {"kind": "process", "program": "sleeper"}}
AGAIN = {"max_attempts": 3, "backoff": 0.1, "on": ["lost"]}


def is_running(pid: int) -> bool:
    """Whether a process is there and not a zombie."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


async def started(lives: Path, count: int) -> list[int]:
    """The process ids of the program, once it was started so often."""

    def pids() -> list[int]:
        found = [int(line) for line in lives.read_text().split()] if lives.exists() else []
        return found if len(found) >= count else []

    return await eventually(pids, awaited=f"start {count} of the program")


async def attempts(client: httpx.AsyncClient, task: str) -> list[tuple[Any, ...]]:
    """How the attempts of a task ended."""
    items = (await client.get(f"{OP}/tasks/{task}/attempts")).json()["items"]
    return [(item["attempt"], item.get("outcome"), item.get("reason")) for item in items]


async def test_what_a_killed_node_drove_goes_on_elsewhere(cluster: Cluster, lives: Path) -> None:
    """Its process is ended and retried by the other node; a worker outside, a timer and a parked poll do not notice."""
    first, second = cluster.start(), cluster.start()
    one, two = await cluster.operator(first), await cluster.operator(second)
    outside = await created(one)
    handle = (await dispatched(one, outside))["worker_handle"]
    timed = await created(one, attempt_timeout=2)
    await dispatched(one, timed)
    task = await created(one, "60", retry=AGAIN)
    await dispatched(one, task, **SLEEPER)
    (orphan,) = await started(lives, 1)

    polling = asyncio.ensure_future(two.get(f"{OP}/tasks/{outside}/poll?hold=60"))
    first.kill()
    assert len(await started(lives, 2)) == 2
    assert not is_running(orphan)
    assert (await attempts(two, task))[0] == (1, "blocked", "lost")
    assert (await cluster.as_(second, handle).post(f"{WORK}/submit", content="done")).status_code == 204
    assert (await polling).json()["last_result"] == "done"
    assert (await two.get(f"{OP}/tasks/{timed}/poll?hold=30")).json()["status"] == "blocked"
    assert (await attempts(two, timed)) == [(1, "timeout", "timeout")]
    counted = await cluster.metrics(second)
    assert counted['swarmhold_takeovers_total{result="lost"}'] == 1
    assert counted['swarmhold_nodes{state="dead"}'] == 1
    assert [item["alive"] for item in await cluster.listed(second)] == [False, True]


async def test_a_node_that_stood_still_past_its_lease_changes_nothing(cluster: Cluster, lives: Path) -> None:
    """Continued, it ends what it ran, joins anew under another id, and serves what the others have done meanwhile."""
    first, second = cluster.start(), cluster.start()
    one, two = await cluster.operator(first), await cluster.operator(second)
    former = next(item["id"] for item in await cluster.listed(second) if item["url"] == first.url)
    task = await created(one, "20", retry=AGAIN)
    await dispatched(one, task, **SLEEPER)
    (orphan,) = await started(lives, 1)

    os.kill(first.pid, signal.SIGSTOP)
    submitting = asyncio.ensure_future(one.post(f"{OP}/tasks", json={"agent": "a", "initial_directive": "late"}))
    await started(lives, 2)
    assert (await two.post(f"{OP}/tasks/{task}/cancel", json={})).status_code == 200
    before = await attempts(two, task)
    os.kill(first.pid, signal.SIGCONT)

    async def has_joined_anew() -> bool:
        items = await cluster.listed(second)
        return any(item["url"] == first.url and item["alive"] and item["id"] != former for item in items)

    await eventually(has_joined_anew, awaited="the node that stood still to join anew")
    assert (await submitting).status_code in (201, 503)
    assert await attempts(two, task) == before
    assert not is_running(orphan)
    assert await works(cluster, first)
    await eventually(lambda: "node_fenced" in first.logs())
    assert (await cluster.metrics(first))["swarmhold_node_fenced_total"] == 1
    assert (await cluster.metrics(second))["swarmhold_node_fenced_total"] == 0


async def test_a_node_that_is_stopped_serves_on_until_others_are_asked_and_hands_its_attempts_over(
    cluster: Cluster, lives: Path
) -> None:
    """Not ready any more it takes and finishes work; a parked poll is answered with 202; what it drove goes on."""
    first, second = cluster.start(), cluster.start()
    one, two = await cluster.operator(first), await cluster.operator(second)
    task = await created(one, "60", retry=AGAIN)
    await dispatched(one, task, **SLEEPER)
    await started(lives, 1)

    async def knows_the_other() -> bool:
        return len(await cluster.listed(first)) == 2 and "draining" not in first.logs()

    await eventually(knows_the_other)
    polling = asyncio.ensure_future(one.get(f"{OP}/tasks/{task}/poll?hold=60"))
    stopping = asyncio.ensure_future(asyncio.to_thread(first.stop))

    async def is_draining() -> bool:
        return (await one.get("/readyz")).status_code == 503

    await eventually(is_draining)
    other = await created(one, "0")
    await dispatched(one, other, **SLEEPER)
    assert (await polling).status_code == 202
    assert await stopping == 0
    assert (await two.get(f"{OP}/tasks/{other}")).status_code == 200
    await started(lives, 3)
    assert (await attempts(two, task))[:2] == [(1, "blocked", "lost"), (2, None, None)]
    assert [item["url"] for item in await cluster.listed(second)] == [second.url]


async def works(cluster: Cluster, node: ServerProcess) -> bool:
    """Whether a task lives from beginning to end on a node."""
    client = await cluster.operator(node)
    task = await created(client, "0")
    await dispatched(client, task, **SLEEPER)
    return (await client.get(f"{OP}/tasks/{task}/poll?hold=30")).json()["last_result"] == "slept"
