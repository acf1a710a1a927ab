"""A primary that fails over to its standby, behind a URL that names both: a pause, not an incident."""

import asyncio
import contextlib
from collections.abc import Iterator

import httpx
import psycopg
import pytest

from swarmhold import SwarmholdClient
from tests.cluster.conftest import OP, ROOT_KEY, WORK, Cluster
from tests.cluster.test_two_nodes import created, dispatched
from tests.support.ports import LOOPBACK
from tests.support.postgres import SUPERUSER, PostgresCluster, running_postgres
from tests.support.waiting import eventually, wait_until

pytestmark = [pytest.mark.chaos, pytest.mark.slow]

NAME = "standby"


@pytest.fixture
def pair() -> Iterator[tuple[PostgresCluster, PostgresCluster]]:
    """A primary whose commits wait for its standby."""
    with running_postgres(durable=True) as primary, contextlib.ExitStack() as stack:
        standby = primary.standby(NAME)
        stack.callback(standby.remove)
        standby.start()
        with psycopg.connect(primary.url(), autocommit=True) as connection:
            connection.execute(f"alter system set synchronous_standby_names = '{NAME}'")
            connection.execute("select pg_reload_conf()")

            def synchronous() -> bool:
                rows = connection.execute("select sync_state from pg_stat_replication").fetchall()
                return rows == [("sync",)]

            wait_until(synchronous, awaited="commits to wait for the standby")
        yield primary, standby


async def test_a_failover_is_a_pause(cluster: Cluster, pair: tuple[PostgresCluster, PostgresCluster]) -> None:
    """Nodes answer 503 with Retry-After until the standby is promoted; nothing that was acknowledged is lost."""
    primary, standby = pair
    hosts = f"{LOOPBACK}:{primary.port},{LOOPBACK}:{standby.port}"
    cluster.settings["SWARMHOLD_DATABASE_URL"] = (
        f"postgresql://{SUPERUSER}@{hosts}/postgres?target_session_attrs=read-write"
    )
    first, second = cluster.start(), cluster.start()
    one, two = await cluster.operator(first), await cluster.operator(second)
    task = await created(one)
    handle = (await dispatched(one, task, lease=600))["worker_handle"]
    key = (await cluster.as_(first, handle).post(f"{WORK}/questions", json={"question": "?"})).json()["key"]
    other = await created(one)
    working = cluster.as_(second, (await dispatched(one, other, lease=600))["worker_handle"])
    ours = SwarmholdClient(second.url)
    waiting = asyncio.ensure_future((await ours.attach_operator(ROOT_KEY, "waiting")).wait_for(other))

    await asyncio.to_thread(primary.kill)
    refused = await one.post(f"{OP}/tasks", json={"agent": "a", "initial_directive": "d"})
    assert refused.status_code == 503
    assert "retry-after" in refused.headers
    await asyncio.to_thread(standby.promote)

    async def works(client: httpx.AsyncClient) -> bool:
        reply = await client.post(f"{OP}/tasks", json={"agent": "a", "initial_directive": "d"})
        assert reply.status_code in (201, 503), reply.text
        return reply.status_code == 201

    await eventually(lambda: works(one), awaited="the first node to work again")
    await eventually(lambda: works(two), awaited="the second node to work again")
    assert (await two.get(f"{OP}/tasks/{task}")).json()["suspended_on"] == [key]
    senior = cluster.as_(second, await cluster.attach(second, "senior"))
    assert (await senior.post(f"/v1/senior/questions/{key}/answer", json={"value": 1})).is_success
    assert (await cluster.as_(second, handle).post(f"{WORK}/submit", content="done")).status_code == 204
    assert (await one.get(f"{OP}/tasks/{task}")).json()["last_result"] == "done"
    assert (await working.post(f"{WORK}/submit", content="seen")).status_code == 204
    assert (await waiting).last_result == "seen"
    assert (await one.get("/readyz")).json()["status"] == "ready"
    assert all(item["alive"] for item in await cluster.listed(second))
    assert all(node.running for node in cluster.nodes)
    await ours.aclose()
