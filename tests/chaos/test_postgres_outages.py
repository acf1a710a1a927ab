"""PostgreSQL goes away under a node in full work, and comes back: the node says so meanwhile, and goes on by itself."""

import asyncio
import time
from collections.abc import Callable, Iterator
from contextlib import AsyncExitStack, aclosing
from datetime import timedelta

import httpx
import pytest

from swarmhold import Observer, SwarmholdClient
from swarmhold.models.events import Event
from swarmhold.models.spawners import ExternalSpawner
from tests.chaos.lives import CALL_RETRY, LEASE, PROGRAMS, RETRY
from tests.chaos.survival import LONG, ROUNDS, SEED, diagnose, survive
from tests.conftest import StartServer
from tests.support.cutting import cutting_proxy
from tests.support.postgres import PostgresCluster, PostgresFailedError, running_postgres
from tests.support.processes import ServerProcess
from tests.support.waiting import eventually

REFUSALS = 20
HOLD = timedelta(seconds=60)

pytestmark = [pytest.mark.chaos, pytest.mark.slow, pytest.mark.timeout(0 if LONG else 600)]


@pytest.fixture
def cluster() -> Iterator[PostgresCluster]:
    """A PostgreSQL server of this test's own that keeps its promises when it is killed."""
    with running_postgres(durable=True) as made:
        yield made


def returned(cluster: PostgresCluster) -> bool:
    """Start it, if nothing of the killed one is left in its way."""
    try:
        cluster.start()
    except PostgresFailedError:
        return False
    return True


async def status(http: httpx.AsyncClient, path: str) -> int:
    """The status of a GET."""
    return (await http.get(path)).status_code


async def outage(node: ServerProcess, cluster: PostgresCluster, end: Callable[[], None]) -> None:
    """Take PostgreSQL away until the node has refused often enough, in the right words; then bring it back."""
    async with httpx.AsyncClient(base_url=node.url, trust_env=False, timeout=30) as http:
        root = {"Authorization": f"Bearer {node.root_key()}"}
        await asyncio.to_thread(end)
        for number in range(REFUSALS):
            if number % 2:
                reply = await http.get("/readyz")
            else:
                body = {"operator_id": "away"}
                reply = await http.post("/v1/operator/sessions", json=body, headers=root)
            assert (reply.status_code, reply.headers["content-type"]) == (503, "application/problem+json"), reply.text
            assert reply.json()["code"] == "store-unavailable"
            assert int(reply.headers["retry-after"]) >= 1
            assert await status(http, "/healthz") == 200
        await eventually(lambda: asyncio.to_thread(returned, cluster))

        async def ready() -> bool:
            return await status(http, "/readyz") == 200

        await eventually(ready)


async def standstill(node: ServerProcess, cluster: PostgresCluster) -> None:
    """Suspend PostgreSQL until the server has reported that it is not ready, then wait until it is ready again."""
    async with httpx.AsyncClient(base_url=node.url, trust_env=False, timeout=30) as http:
        await asyncio.to_thread(cluster.pause)
        try:
            reply = await http.get("/readyz")
            assert (reply.status_code, reply.json()["code"]) == (503, "store-unavailable")
            assert "has not answered" in reply.json()["detail"]
            assert await status(http, "/healthz") == 200
        finally:
            await asyncio.to_thread(cluster.resume)

        async def ready() -> bool:
            return await status(http, "/readyz") == 200

        await eventually(ready)


async def test_nothing_acknowledged_is_lost_when_postgres_is_killed(
    start_server: StartServer, cluster: PostgresCluster
) -> None:
    """Killed, shut down and brought to a halt by turns: every life goes on, and the books agree with every reply."""
    settings = {"SWARMHOLD_SPAWN__PROGRAMS": PROGRAMS, "SWARMHOLD_DATABASE_URL": cluster.create_database()}
    node = await asyncio.to_thread(start_server, settings=settings)
    pid = node.pid

    async def strike(number: int) -> None:
        if number % 3 == 2:
            await standstill(node, cluster)
        else:
            await outage(node, cluster, cluster.stop if number % 3 else cluster.kill)

    ledger, wrong = await survive(node, strike, rounds=max(ROUNDS, 3), seed=SEED + 2)

    assert wrong == []
    assert len(set(ledger.tasks.values())) > 5, "too little happened to mean anything"
    assert await asyncio.to_thread(diagnose, node) == []
    assert (node.running, node.pid) == (True, pid)


async def _follow(observer: Observer, followed: list[Event]) -> None:
    async with aclosing(observer.events(after=0)) as events:
        async for event in events:
            assert isinstance(event, Event)
            followed.append(event)


async def test_who_waits_goes_on_waiting_through_an_outage(start_server: StartServer, cluster: PostgresCluster) -> None:
    """Long polls, an event stream and a console's socket that were there before get what comes after, each once."""
    node = await asyncio.to_thread(start_server, settings={"SWARMHOLD_DATABASE_URL": cluster.create_database()})
    followed: list[Event] = []
    async with AsyncExitStack() as stack:
        server = await stack.enter_async_context(SwarmholdClient(node.url, call_retry=CALL_RETRY))
        key = node.root_key()
        operator = await server.attach_operator(key, "o")
        senior = await server.attach_senior(key, "s")
        observer = await server.attach_observer(key, "v")
        group = await stack.enter_async_context(asyncio.TaskGroup())
        console = await stack.enter_async_context(senior.console("desk"))
        following = group.create_task(_follow(observer, followed))
        task = await operator.start_task("a", "d")
        attempt = await operator.dispatch(task.id, ExternalSpawner())
        assert attempt.worker_handle is not None
        worker = server.worker(attempt.worker_handle)
        asked = await worker.ask("go?")
        assert (await console.next_ask()).key == asked.key
        answered = group.create_task(worker.await_answer(asked.key, hold=HOLD))
        settled = group.create_task(operator.wait_for(task.id, hold=HOLD))
        await eventually(lambda: [event.kind for event in followed][-1:] == ["task_suspended"])

        await outage(node, cluster, cluster.kill)

        await console.answer(asked.key, {"go": True})
        assert await asyncio.wait_for(answered, 60) == {"go": True}
        await worker.submit("done")
        assert (await asyncio.wait_for(settled, 60)).last_result == "done"
        await eventually(lambda: [event.kind for event in followed].count("task_pass") == 1)
        following.cancel()
    cursors = [int(event.cursor) for event in followed]
    assert cursors == sorted(set(cursors))
    assert [event.kind for event in followed].count("senior_answered") == 1


@pytest.mark.parametrize("how", ["killed", "standing still"])
async def test_a_live_worker_outlives_an_outage_that_is_longer_than_its_lease(
    start_server: StartServer, cluster: PostgresCluster, how: str
) -> None:
    """Its heartbeats are refused, or wait, for three leases; afterwards it goes on, and its attempt is the only one."""
    node = await asyncio.to_thread(start_server, settings={"SWARMHOLD_DATABASE_URL": cluster.create_database()})
    begin, end = (cluster.kill, cluster.start) if how == "killed" else (cluster.pause, cluster.resume)
    async with SwarmholdClient(node.url, call_retry=CALL_RETRY) as server:
        operator = await server.attach_operator(node.root_key(), "o")
        task = await operator.start_task("a", "d", retry=RETRY)
        attempt = await operator.dispatch(task.id, ExternalSpawner(), lease=LEASE)
        assert attempt.worker_handle is not None
        worker = server.worker(attempt.worker_handle)
        await worker.heartbeat()
        await asyncio.to_thread(begin)
        beating = asyncio.create_task(worker.heartbeat())
        back_at = time.monotonic() + 3 * LEASE.total_seconds()
        await eventually(lambda: time.monotonic() >= back_at)
        await asyncio.to_thread(end)

        assert not (await asyncio.wait_for(beating, 60)).cancelled
        await worker.submit("done")
        settled = await operator.task(task.id)
        assert (settled.last_result, settled.attempt) == ("done", 1)


async def test_another_node_takes_over_from_a_host_that_lost_its_power(
    start_server: StartServer, postgres_url: str
) -> None:
    """It starts at once, and goes on with what the dead one had acknowledged."""
    with cutting_proxy(postgres_url) as (proxy, url):
        settings = {"SWARMHOLD_DATABASE_URL": url, "SWARMHOLD_DATABASE_KEEPALIVE_TIMEOUT": "6"}
        node = await asyncio.to_thread(start_server, settings=settings)
        async with SwarmholdClient(node.url) as server:
            token = (await server.attach(node.root_key(), "o")).token
            task = await server.operator(token).start_task("a", "d")
            attempt = await server.operator(token).dispatch(task.id, ExternalSpawner())
            assert attempt.worker_handle is not None
        proxy.fall_silent()
        await asyncio.to_thread(node.kill)
        own = {"SWARMHOLD_DATABASE_URL": postgres_url}
        heir = await asyncio.to_thread(start_server, data_dir=node.data_dir, settings=own)
        async with SwarmholdClient(heir.url) as server:
            await server.worker(attempt.worker_handle).submit("done")
            assert (await server.operator(token).task(task.id)).last_result == "done"
