"""Each node of a cluster is restarted in turn under load: no request fails, and clients of ours miss nothing."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, aclosing
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

import httpx
import pytest

from app.bootstrap import server
from app.config import Settings
from swarmhold import Observer, Senior, SwarmholdClient
from swarmhold.models.events import Event, Lagged
from tests.cluster.conftest import OP, ROOT_KEY, WORK, Cluster
from tests.support.balancing import Balancer, balancing
from tests.support.ports import NO_AUTHORITIES
from tests.support.waiting import eventually

pytestmark = [pytest.mark.chaos, pytest.mark.slow, pytest.mark.timeout(600)]

LANES = 6
ENDS = ("task_pass", "task_cancelled")
GONE_WITHIN = timedelta(seconds=20)


@dataclass
class Traffic:
    """Clients without any retry that live task after task through a balancer, and note every request that failed."""

    url: str
    failures: list[str] = field(default_factory=list)
    replies: int = 0
    created: list[str] = field(default_factory=list)
    answers: dict[str, Any] = field(default_factory=dict)
    stopping: bool = False

    async def call(self, client: httpx.AsyncClient, method: str, path: str, **options: Any) -> httpx.Response:
        """Send a request. One that is answered with 503 and Retry-After is sent again, as the reply asks for."""
        while True:
            try:
                reply = await client.request(method, path, **options)
            except httpx.TransportError as error:
                self.failures.append(f"{method} {path}: {error!r}")
                raise
            self.replies += 1
            if reply.status_code < 500:
                return reply
            if reply.status_code != 503 or "retry-after" not in reply.headers:
                self.failures.append(f"{method} {path}: {reply.status_code} {reply.text}")
                reply.raise_for_status()

    @contextlib.asynccontextmanager
    async def client(self, credential: str) -> AsyncIterator[httpx.AsyncClient]:
        """One with connections of its own."""
        headers = {"Authorization": f"Bearer {credential}"}
        async with httpx.AsyncClient(
            base_url=self.url, headers=headers, timeout=900, trust_env=False, verify=NO_AUTHORITIES
        ) as client:
            yield client

    async def live(self, token: str) -> None:
        """Live until `stopping`: create, dispatch, ask, be answered, submit; and poll meanwhile."""
        async with self.client(token) as operator, self.client(token) as poller:
            while not self.stopping:
                made = await self.call(operator, "POST", f"{OP}/tasks", json={"agent": "a", "initial_directive": "d"})
                task = made.json()["id"]
                self.created.append(task)
                external = {"spawner": {"kind": "external"}}
                reply = await self.call(operator, "POST", f"{OP}/tasks/{task}/dispatch", json=external)
                async with asyncio.TaskGroup() as group, self.client(reply.json()["worker_handle"]) as worker:
                    asked = await self.call(worker, "POST", f"{WORK}/questions", json={"question": task})
                    path, answered = f"{WORK}/questions/{asked.json()['key']}?hold=20", None
                    while answered is None or answered.status_code == 202:
                        answered = await self.call(worker, "GET", path)
                    self.answers[task] = answered.json()["answer"]
                    polling = group.create_task(self.await_end(poller, task))
                    assert (await self.call(worker, "POST", f"{WORK}/submit", content=task)).status_code == 204
                    assert await polling == task

    async def await_end(self, client: httpx.AsyncClient, task: str) -> Any:
        """The result of a task, by polls that are answered with 202 where their node stops."""
        while (reply := await self.call(client, "GET", f"{OP}/tasks/{task}/poll?hold=30")).status_code == 202:
            pass
        return reply.json()["last_result"]

    async def wait_long(self, token: str, task: str) -> int:
        """Poll a task that does not end until `stopping`; return how many polls were answered early."""
        early = 0
        async with self.client(token) as client:
            while not self.stopping:
                reply = await self.call(client, "GET", f"{OP}/tasks/{task}/poll?hold=600")
                early += reply.status_code == 202
        return early


async def answer_all(senior: Senior) -> None:
    """Answer what arrives over a WebSocket that reconnects."""
    async with senior.console("desk") as console:
        async for ask in console:
            await console.answer(ask.key, f"to {ask.question}")


async def follow(observer: Observer, seen: list[Event]) -> None:
    """Follow the feed, over a stream that goes on where it was."""
    async with aclosing(observer.events(after=0)) as events:
        async for event in events:
            match event:
                case Event():
                    seen.append(event)
                case Lagged():
                    pass


async def rolled(cluster: Cluster, balancer: Balancer, traffic: Traffic) -> None:
    """Restart each node in turn, each once the cluster works with all of them."""
    for node in cluster.nodes:
        before = traffic.replies
        assert await asyncio.to_thread(node.stop) == 0
        await asyncio.to_thread(node.start)
        await balancer.await_ready(len(cluster.nodes))
        await eventually(lambda before=before: traffic.replies >= before + 50 or traffic.failures)
        assert traffic.failures == []


async def test_no_request_fails_while_every_node_is_restarted(cluster: Cluster) -> None:
    """Neither one by a client that retries nothing, nor an event, a question or an answer of those that reconnect."""
    cluster.settings["SWARMHOLD_CLUSTER__DRAIN"] = "3"
    nodes = [cluster.start() for _ in range(3)]
    token = await cluster.attach(nodes[0])
    seen: list[Event] = []
    async with AsyncExitStack() as stack:
        balancer = await stack.enter_async_context(balancing(nodes))
        traffic = Traffic(balancer.url)
        ours = await stack.enter_async_context(SwarmholdClient(balancer.url))
        senior = await ours.attach_senior(ROOT_KEY, "senior")
        observer = await ours.attach_observer(ROOT_KEY, "observer")
        operator = await cluster.operator(nodes[0])
        parked = (await operator.post(f"{OP}/tasks", json={"agent": "a", "initial_directive": "d"})).json()["id"]
        async with asyncio.TaskGroup() as group:
            answering = group.create_task(answer_all(senior))
            following = group.create_task(follow(observer, seen))
            waiting = group.create_task(traffic.wait_long(token, parked))
            lanes = [group.create_task(traffic.live(token)) for _ in range(LANES)]
            await rolled(cluster, balancer, traffic)
            traffic.stopping = True
            await asyncio.wait(lanes)
            await operator.post(f"{OP}/tasks/{parked}/cancel", json={})
            assert await waiting >= 1, "no parked poll was answered early"
            ended = {*traffic.created, parked}
            await eventually(lambda: ended <= {event.task_id for event in seen if event.kind in ENDS})
            answering.cancel()
            following.cancel()
    assert traffic.failures == []
    assert traffic.answers == {task: f"to {task}" for task in traffic.created}
    cursors = [int(event.cursor) for event in seen]
    assert cursors == sorted(set(cursors)), "an event came twice, or in another order"
    assert len(balancer.served) == 3


async def test_replies_of_a_node_that_drains_end_their_connections(cluster: Cluster) -> None:
    """Its clients go to others before it is gone; a WebSocket that still comes is opened all the same."""
    first, _ = cluster.start(), cluster.start()
    one = await cluster.operator(first)
    assert "connection" not in (await one.get("/healthz")).headers
    stopping = asyncio.ensure_future(asyncio.to_thread(first.stop))
    headers: list[str | None] = []
    while "close" not in headers:
        headers.append((await one.get("/healthz")).headers.get("connection"))
    assert (await one.get("/readyz")).status_code == 503
    async with SwarmholdClient(first.url) as client:
        senior = await client.attach_senior(ROOT_KEY, "senior")
        async with senior.console("late") as console:
            assert console.open == []
    assert await stopping == 0


def test_a_node_is_gone_within_twenty_seconds_by_default() -> None:
    """Draining, marking and the grace period together."""
    settings = Settings()
    drain = timedelta(milliseconds=settings.cluster.drain_ms, seconds=server._MARK_S)
    assert drain + settings.shutdown_grace < GONE_WITHIN
