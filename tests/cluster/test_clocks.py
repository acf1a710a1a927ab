"""The machines of three nodes have clocks that are a minute apart, and nobody notices: the database's counts."""

import json
import os
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from itertools import pairwise
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.cluster.conftest import LEASE_S, OP, SENIOR, WORK, Cluster
from tests.cluster.test_two_nodes import created, dispatched
from tests.support.waiting import eventually

pytestmark = pytest.mark.chaos

WRONG_BY_S = 60
NEAR_S = 20
_CLOCK = """
import os, time

_shift_ns = int(os.environ["CLOCK_SHIFT_S"]) * 10**9
_time_ns = time.time_ns
time.time_ns = lambda: _time_ns() + _shift_ns
time.time = lambda: time.time_ns() / 10**9
"""


@pytest.fixture
async def clients(cluster: Cluster, tmp_path: Path) -> list[httpx.AsyncClient]:
    """An operator's clients of a node whose clock is right, of one that is ahead, and of one that is behind."""
    (tmp_path / "clock").mkdir()
    (tmp_path / "clock" / "sitecustomize.py").write_text(_CLOCK)
    paths = [str(tmp_path / "clock"), os.environ.get("PYTHONPATH", "")]
    cluster.settings["PYTHONPATH"] = os.pathsep.join(filter(None, paths))
    for shift_s in (0, WRONG_BY_S, -WRONG_BY_S):
        cluster.settings["CLOCK_SHIFT_S"] = str(shift_s)
        cluster.start()
    return [await cluster.operator(node) for node in cluster.nodes]


def off_by(shown: Any) -> float:
    """How many seconds an instant is away from now."""
    at = shown if isinstance(shown, datetime) else datetime.fromisoformat(shown)
    return abs((at - datetime.now(UTC)).total_seconds())


async def test_what_is_shown_and_what_ends_goes_by_one_clock(
    cluster: Cluster, clients: list[httpx.AsyncClient]
) -> None:
    """Dates of replies, instants in them, leases, timeouts, deadlines, tokens and the nodes' own signs of life."""
    tasks: list[str] = []
    for number, client in enumerate(clients):
        reply = await client.get(f"{OP}/session")
        assert off_by(parsedate_to_datetime(reply.headers["date"])) < NEAR_S
        task = await created(client, attempt_timeout=1)
        tasks.append(task)
        made = (await clients[number - 1].get(f"{OP}/tasks/{task}")).json()
        assert off_by(made["created_at"]) < NEAR_S
        await dispatched(clients[number - 2], task)
    for task in tasks:
        for client in clients:
            assert (await client.get(f"{OP}/tasks/{task}/poll?hold=50")).json()["status"] == "blocked"

    working = await created(clients[1])
    handle = (await dispatched(clients[2], working, lease=30))["worker_handle"]
    for node in cluster.nodes:
        pulse = (await cluster.as_(node, handle).post(f"{WORK}/heartbeat")).json()
        assert abs(off_by(pulse["expires_at"]) - 30) < NEAR_S, pulse

    soon = (datetime.now(UTC) + timedelta(seconds=1)).isoformat()
    asking = {"question": "?", "deadline": soon, "on_deadline": "block"}
    asked = await cluster.as_(cluster.nodes[1], handle).post(f"{WORK}/questions", json=asking)
    assert asked.status_code == 201, asked.text
    waited = await clients[2].get(f"{OP}/questions/{asked.json()['key']}?hold=50")
    assert waited.json()["status"] == "expired"

    asked = await clients[0].post(f"{OP}/questions", json={"question": "?"})
    assert asked.status_code == 201, asked.text
    senior = await cluster.attach(cluster.nodes[0], "senior")
    question = f"{SENIOR}/questions/{asked.json()['key']}"
    claimed = await cluster.as_(cluster.nodes[0], senior).post(f"{question}/claim", json={"ttl": 50})
    for node in cluster.nodes:
        shown = (await cluster.as_(node, senior).get(question)).json()
        assert shown["claim"] == claimed.json()["claim"]

    for node in cluster.nodes:
        brief = await cluster.attach(node, ttl=30)
        replies = [await cluster.as_(other, brief).get(f"{OP}/session") for other in cluster.nodes]
        assert [reply.status_code for reply in replies] == [200, 200, 200]


async def test_nodes_stay_alive_and_events_keep_their_order(cluster: Cluster, clients: list[httpx.AsyncClient]) -> None:
    """For longer than the lease none is taken for dead; times on the feed grow with the cursors."""
    before = await cluster.listed(cluster.nodes[0])

    async def heard_for_a_lease() -> bool:
        for client in clients:
            await created(client)
        items = await cluster.listed(cluster.nodes[0])
        seen = [datetime.fromisoformat(item["seen_at"]) for item in items]
        first = [datetime.fromisoformat(item["seen_at"]) for item in before]
        return min(now - then for now, then in zip(seen, first, strict=True)).total_seconds() > LEASE_S * 1.5

    await eventually(heard_for_a_lease)
    for node in cluster.nodes:
        assert [(item["id"], item["alive"]) for item in await cluster.listed(node)] == [
            (item["id"], True) for item in before
        ]
    last = await created(clients[0])
    times: list[datetime] = []
    async with clients[1].stream("GET", f"{OP}/events?after=0") as stream:
        async for line in stream.aiter_lines():
            if line.startswith("data:"):
                event = json.loads(line.removeprefix("data:"))
                times.append(datetime.fromisoformat(event["at"]))
                if event.get("task_id") == last:
                    break
    assert max((one - other).total_seconds() for one, other in pairwise(times)) < 1
