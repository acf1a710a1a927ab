"""Calls that race each other on different nodes: one wins, and every node shows what it did."""

import asyncio
import random
from collections.abc import Awaitable
from contextlib import AsyncExitStack
from dataclasses import dataclass
from typing import Any

import httpx
import pytest

from tests.chaos.history import History, contradictions
from tests.cluster.conftest import OP, SENIOR, WORK, Cluster
from tests.cluster.test_two_nodes import created, dispatched

pytestmark = pytest.mark.chaos

SEED = 12
ROUNDS = 40
CROWDS = 5


@dataclass
class Racers:
    """Clients of two nodes, whose calls are recorded, and calls that contradict each other."""

    nodes: list[httpx.AsyncClient]
    history: History
    operator: str
    senior: str
    random: random.Random

    def call(self, method: str, path: str, credential: str, **options: Any) -> Awaitable[httpx.Response]:
        """A call on either node."""
        client = self.random.choice(self.nodes)
        return client.request(method, path, headers={"Authorization": f"Bearer {credential}"}, **options)

    def as_operator(self, method: str, path: str, **options: Any) -> Awaitable[httpx.Response]:
        """A call of the operator."""
        return self.call(method, f"{OP}{path}", self.operator, **options)

    async def working(self) -> tuple[str, str]:
        """A task and the handle of its worker."""
        made = await self.as_operator("POST", "/tasks", json={"agent": "a", "initial_directive": "d"})
        task = made.json()["id"]
        body = {"spawner": {"kind": "external"}}
        return task, (await self.as_operator("POST", f"/tasks/{task}/dispatch", json=body)).json()["worker_handle"]

    async def ended(self) -> None:
        """Two results, a cancel and a verdict at once: the task ends in one of these ways."""
        task, handle = await self.working()
        calls = [self.call("POST", f"{WORK}/submit", handle, json=value) for value in ("one", "two")]
        calls.append(self.as_operator("POST", f"/tasks/{task}/cancel"))
        calls.append(self.as_operator("POST", f"/tasks/{task}/verdict", json={"ok": True, "value": "judged"}))
        ends = [("pass", "one"), ("pass", "two"), ("cancelled", None), ("pass", "judged")]
        won = await self.one_wins(calls)
        shown = await self.shown(task)
        assert shown["status"] == ends[won][0]
        assert ends[won][1] in (None, shown["last_result"])

    async def answered(self) -> None:
        """Two answers and a withdrawal at once."""
        _, handle = await self.working()
        key = (await self.call("POST", f"{WORK}/questions", handle, json={"question": "?"})).json()["key"]
        path = f"{SENIOR}/questions/{key}/answer"
        calls = [self.call("POST", path, self.senior, json={"value": value}) for value in ("one", "two")]
        calls.append(self.as_operator("POST", f"/questions/{key}/withdraw", json={}))
        won = await self.one_wins(calls)
        for _ in self.nodes:
            question = (await self.call("GET", f"{WORK}/questions/{key}?hold=5", handle)).json()
            assert question["status"] == ("withdrawn" if won == 2 else "answered"), question
            assert won == 2 or question["answer"] == ("one", "two")[won]

    async def adopted(self) -> None:
        """One of two late results is adopted."""
        task, handle = await self.working()
        judged = await self.as_operator("POST", f"/tasks/{task}/verdict", json={"ok": False, "value": "no"})
        assert judged.status_code == 200
        for value in ("one", "two"):
            assert (await self.call("POST", f"{WORK}/submit", handle, json=value)).status_code == 409
        path = f"/tasks/{task}/attempts/1/late"
        won = await self.one_wins([self.as_operator("POST", f"{path}/{index}/adopt") for index in range(2)])
        assert (await self.shown(task))["last_result"] == ("one", "two")[won]
        late = (await self.as_operator("GET", path)).json()["items"]
        assert [one.get("adopted_at") is not None for one in late] == [index == won for index in range(2)]

    async def claimed(self) -> None:
        """Four claims and one attempt; it is cancelled, or claimed once, or both."""
        made = await self.as_operator("POST", "/tasks", json={"agent": "a", "initial_directive": "d"})
        task, queue = made.json()["id"], f"q-{self.random.random()}"
        spawner = {"spawner": {"kind": "queue", "queue": queue}}
        claim = {"queue": queue, "hold": 0.2}
        calls = [self.call("POST", f"{WORK}/claim", self.operator_key, json=claim) for _ in range(4)]
        dispatching = self.as_operator("POST", f"/tasks/{task}/dispatch", json=spawner)
        replies = await asyncio.gather(*calls, dispatching)
        assert replies.pop().status_code == 202
        given = [reply.json()["task_id"] for reply in replies if reply.status_code == 200]
        left = (await self.call("POST", f"{WORK}/claim", self.operator_key, json={**claim, "hold": 0})).status_code
        assert (given, left) in (([task], 204), ([], 200))

    async def shared_out(self) -> None:
        """Twelve workers wait on both nodes for as many attempts, which come at once: each gets one."""
        queue = f"q-{self.random.random()}"
        claim = {"queue": queue, "hold": 50}
        calls = [self.call("POST", f"{WORK}/claim", self.operator_key, json=claim) for _ in range(12)]
        parked = [asyncio.ensure_future(call) for call in calls]

        async def come() -> str:
            made = await self.as_operator("POST", "/tasks", json={"agent": "a", "initial_directive": "d"})
            task, spawner = made.json()["id"], {"spawner": {"kind": "queue", "queue": queue}}
            assert (await self.as_operator("POST", f"/tasks/{task}/dispatch", json=spawner)).status_code == 202
            return task

        tasks = await asyncio.gather(*(come() for _ in parked))
        replies = await asyncio.gather(*parked)
        assert [reply.status_code for reply in replies] == [200] * len(parked)
        assert sorted(reply.json()["task_id"] for reply in replies) == sorted(tasks)

    operator_key: str = ""

    async def one_wins(self, calls: list[Awaitable[httpx.Response]]) -> int:
        """Which of the calls is accepted; each of the others is a conflict."""
        order = self.random.sample(range(len(calls)), len(calls))
        replies = dict(zip(order, await asyncio.gather(*(calls[number] for number in order)), strict=True))
        won = [number for number, reply in replies.items() if reply.is_success]
        assert len(won) == 1, {number: reply.text for number, reply in replies.items()}
        assert all(reply.status_code == 409 for number, reply in replies.items() if number not in won)
        return won[0]

    async def shown(self, task: str) -> dict[str, Any]:
        """The task, which both nodes show alike."""
        headers = {"Authorization": f"Bearer {self.operator}"}
        one, two = [(await node.get(f"{OP}/tasks/{task}", headers=headers)).json() for node in self.nodes]
        assert one == two
        return one


async def test_of_racing_calls_one_wins(cluster: Cluster) -> None:
    """Results, cancels, verdicts, answers, withdrawals, adoptions and claims, on two nodes in many orders."""
    first, second = cluster.start(), cluster.start()
    history = History()
    async with AsyncExitStack() as stack:
        nodes = [await stack.enter_async_context(history.client(node.url)) for node in (first, second)]
        operator, senior = await cluster.attach(first), await cluster.attach(first, "senior")
        key = cluster.settings["SWARMHOLD_ROOT_KEY"]
        racers = Racers(nodes, history, operator, senior, random.Random(SEED), key)
        for _ in range(ROUNDS):
            await asyncio.gather(racers.ended(), racers.answered(), racers.adopted(), racers.claimed())
        for _ in range(CROWDS):
            await racers.shared_out()
    assert contradictions(history.calls) == []


async def test_what_counts_rows_counts_those_of_all_nodes(cluster: Cluster) -> None:
    """Open questions and children of a task; who waits is counted by the node that keeps them waiting."""
    cluster.settings |= {
        "SWARMHOLD_LIMITS__OPEN_QUESTIONS": "3",
        "SWARMHOLD_LIMITS__CHILDREN": "3",
        "SWARMHOLD_LIMITS__PARKED": "1",
        "SWARMHOLD_LIMITS__STREAMS": "1",
        "SWARMHOLD_HTTP__AUTH_RATE_LIMIT__BURST_PER_SOURCE": "2",
        "SWARMHOLD_HTTP__AUTH_RATE_LIMIT__PER_SOURCE_PER_SECOND": "0.001",
    }
    first, second = cluster.start(), cluster.start()
    one, two = await cluster.operator(first), await cluster.operator(second)
    task = await created(one)
    handle = (await dispatched(one, task))["worker_handle"]
    workers = [cluster.as_(node, handle) for node in (first, second)]
    child, ask = {"agent": "a", "initial_directive": "d"}, {"question": "?"}
    for path, body in (("tasks", child), ("questions", ask)):
        replies = await asyncio.gather(*(workers[n % 2].post(f"{WORK}/{path}", json=body) for n in range(8)))
        assert sorted(reply.status_code for reply in replies) == [201] * 3 + [429] * 5, replies[0].text

    parked: list[asyncio.Future[httpx.Response]] = []
    idle = await created(one)
    for client in (one, two):
        both = [asyncio.ensure_future(client.get(f"{OP}/tasks/{idle}/poll?hold=50")) for _ in range(2)]
        (refused,), waiting = await asyncio.wait(both, return_when=asyncio.FIRST_COMPLETED)
        assert refused.result().json().get("quota") == "parked", refused.result().text
        parked += waiting
    await one.post(f"{OP}/tasks/{idle}/cancel")
    assert [(await poll).status_code for poll in parked] == [200, 200]

    async with one.stream("GET", f"{OP}/events") as here, two.stream("GET", f"{OP}/events") as there:
        assert [here.status_code, there.status_code] == [200, 200]
        assert (await one.get(f"{OP}/events")).status_code == 429

    def guess(number: int) -> Awaitable[httpx.Response]:
        node = first if number < 3 else second
        return cluster.as_(node, f"shk_{number:040}").get(f"{OP}/session")

    assert [(await guess(number)).status_code for number in range(5)] == [401, 401, 429, 401, 401]
