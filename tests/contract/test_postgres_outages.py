import asyncio
import itertools
from collections.abc import AsyncIterator, Iterator

import psycopg
import pytest

from app.domain.errors import StoreUnavailable
from app.state.postgres.keepalive import MIN_TIMEOUT, Keepalive
from app.state.postgres.store import PostgresStore
from app.state.state import State
from tests.contract.conftest import PATIENT
from tests.support import notes
from tests.support.cutting import CuttingProxy, cutting_proxy
from tests.support.effects import EffectsLog
from tests.support.postgres import (
    LOCK_HOLDER,
    PostgresCluster,
    PostgresFailedError,
    lock_held_by_the_dead,
    running_postgres,
)
from tests.support.waiting import eventually


@pytest.fixture
def proxied(postgres_url: str) -> Iterator[tuple[CuttingProxy, str]]:
    """A network that can be cut, and the database behind it."""
    with cutting_proxy(postgres_url) as pair:
        yield pair


@pytest.fixture
async def cut_store(proxied: tuple[CuttingProxy, str]) -> AsyncIterator[PostgresStore]:
    """An open store behind that network."""
    store = PostgresStore(proxied[1], connections=2, policy=PATIENT)
    await store.open()
    await store.transact("seed", notes.write("count", "0"))
    yield store
    await store.close()


async def test_connection_lost_before_the_commit_is_tried_again(
    proxied: tuple[CuttingProxy, str], cut_store: PostgresStore
) -> None:
    """A connection that breaks at any earlier statement costs a second run, and the operation is done once."""
    for statement in (b"BEGIN", b"FOR UPDATE", b"INSERT INTO meta"):
        proxied[0].cut_at(statement)
        await cut_store.transact("add", notes.add_one("count"))
    assert proxied[0].cuts >= 1
    assert await cut_store.read(notes.read("count")) == "3"


@pytest.mark.parametrize("arrives", [False, True])
async def test_connection_lost_in_the_commit_is_told(
    proxied: tuple[CuttingProxy, str], cut_store: PostgresStore, arrives: bool
) -> None:
    """When the result of the commit is unknown, the operation is not run again and fails as `unsure`."""
    runs = 0

    def operation(state: State) -> None:
        nonlocal runs
        runs += 1
        notes.add_one("count")(state)

    proxied[0].cut_at(b"COMMIT", after=arrives)
    with pytest.raises(StoreUnavailable, match="Check whether") as failure:
        await cut_store.transact("add", operation)
    assert failure.value.unsure
    assert runs == 1
    found = await eventually(lambda: cut_store.read(notes.read("count")))
    assert found in (("0", "1") if arrives else ("0",))


async def test_lost_lock_is_taken_again(postgres_url: str) -> None:
    """When the session of the lock ends the store takes it again by itself, and goes on."""
    store = PostgresStore(postgres_url, policy=PATIENT)
    await store.open()
    with psycopg.connect(postgres_url, autocommit=True) as other:
        before = other.execute(LOCK_HOLDER).fetchall()
        assert len(before) == 1
        other.execute("SELECT pg_terminate_backend(%s)", before[0])
        await eventually(lambda: other.execute(LOCK_HOLDER).fetchall() not in ([], before))
    await eventually(lambda: works(store))
    await store.transact("write", notes.write("a", "1"))
    assert await store.read(notes.read("a")) == "1"
    await store.close()


async def test_another_server_that_took_over_keeps_the_database(postgres_url: str) -> None:
    """A server that lost its lock to another one says so and writes nothing any more."""
    store = PostgresStore(postgres_url, policy=PATIENT)
    await store.open()
    holder = psycopg.connect(postgres_url, autocommit=True)
    # The rival queues for the lock, so that it has it the moment the store loses it.
    rival = psycopg.connect(postgres_url, autocommit=True)
    key = holder.execute(
        "SELECT (classid::bigint << 32) + objid::bigint FROM pg_locks WHERE locktype = 'advisory'"
    ).fetchone()
    assert key is not None
    waiting = asyncio.ensure_future(asyncio.to_thread(rival.execute, "SELECT pg_advisory_lock(%s)", key))
    await eventually(
        lambda: holder.execute("SELECT 1 FROM pg_locks WHERE locktype = 'advisory' AND NOT granted").fetchall()
    )
    holder.execute("SELECT pg_terminate_backend(pid) FROM pg_locks WHERE locktype = 'advisory' AND granted")
    await waiting

    async def told() -> bool:
        try:
            await store.transact("write", notes.write("a", "1"))
        except StoreUnavailable as refusal:
            return "another server is using this database" in refusal.reason
        return False

    await eventually(told, within=20)
    rival.close()
    await eventually(lambda: works(store), within=20)
    holder.close()
    await store.close()


KEEPALIVE = Keepalive(MIN_TIMEOUT)
"""What the tests of dead hosts wait for."""


async def opens(store: PostgresStore) -> bool:
    """Whether it can be opened now."""
    try:
        await store.open()
    except StoreUnavailable:
        return False
    return True


@pytest.mark.timeout(120)
async def test_database_of_a_dead_host_is_free_soon(postgres_url: str, proxied: tuple[CuttingProxy, str]) -> None:
    """A host that dies without a word gives its database up within the limit; should it wake, it writes nothing."""
    dead = PostgresStore(proxied[1], policy=PATIENT, keepalive=KEEPALIVE)
    await dead.open()
    await dead.transact("write", notes.write("a", "old"))
    successor = PostgresStore(postgres_url, policy=PATIENT, keepalive=KEEPALIVE)
    with lock_held_by_the_dead(postgres_url):
        proxied[0].fall_silent()
        proxied[0].admitting = False
        with pytest.raises(StoreUnavailable, match="releases the lock after 6 s"):
            await successor.open()
    await eventually(lambda: opens(successor), within=15)
    await successor.transact("write", notes.write("a", "new"))

    with pytest.raises(StoreUnavailable):
        await dead.transact("write", notes.write("a", "late"))
    proxied[0].admitting = True

    async def told() -> bool:
        with pytest.raises(StoreUnavailable) as refusal:
            await dead.transact("write", notes.write("a", "later"))
        return "another server is using this database" in refusal.value.reason

    await eventually(told, within=20)
    assert await successor.read(notes.read("a")) == "new"
    await successor.close()
    await eventually(lambda: works(dead), within=20)
    assert await dead.read(notes.read("a")) == "new"
    await dead.close()


@pytest.mark.timeout(120)
async def test_connection_made_after_the_lock_was_lost_is_refused(
    postgres_url: str, proxied: tuple[CuttingProxy, str]
) -> None:
    """A server that was replaced learns of it by the first new connection that it opens."""
    replaced = PostgresStore(proxied[1], policy=PATIENT)
    await replaced.open()
    # Nothing was written so far, so the first connection but that of the lock is still to come.
    proxied[0].fall_silent()
    successor = PostgresStore(postgres_url, policy=PATIENT)
    with psycopg.connect(postgres_url, autocommit=True) as operator:
        operator.execute("SELECT pg_terminate_backend(pid) FROM pg_locks WHERE locktype = 'advisory' AND granted")
    await successor.open()
    with pytest.raises(StoreUnavailable, match="lost its lock"):
        await replaced.transact("write", notes.write("a", "late"))
    assert await successor.read(notes.read("a")) is None
    await successor.close()
    await eventually(lambda: works(replaced), within=20)
    await replaced.close()


async def test_takeover_ends_what_the_server_before_had_under_way(postgres_url: str) -> None:
    """A transaction of a server that lost its lock cannot be committed once another server has it."""
    former = PostgresStore(postgres_url, policy=PATIENT)
    await former.open()
    await former.transact("write", notes.write("a", "old"))
    with psycopg.connect(postgres_url) as leftover:
        named = leftover.execute(
            "SELECT application_name FROM pg_stat_activity WHERE application_name LIKE 'swarmhold server %'"
        ).fetchone()
        assert named is not None
        leftover.execute("SELECT set_config('application_name', %s, false)", named)
        leftover.execute("UPDATE meta SET value = 'late' WHERE name = 'a'")
        await former.close()
        successor = PostgresStore(postgres_url, policy=PATIENT)
        await successor.open()
        with pytest.raises(psycopg.OperationalError):
            leftover.commit()
    assert await successor.read(notes.read("a")) == "old"
    await successor.close()


@pytest.mark.timeout(120)
async def test_own_lock_is_taken_back_from_a_session_that_never_heard_of_its_end(
    postgres_url: str, proxied: tuple[CuttingProxy, str]
) -> None:
    """A network that broke for the server alone does not keep it from its own database."""
    store = PostgresStore(proxied[1], policy=PATIENT, keepalive=KEEPALIVE)
    await store.open()
    await store.transact("write", notes.write("a", "1"))
    with psycopg.connect(postgres_url, autocommit=True) as other:
        before = other.execute(LOCK_HOLDER).fetchall()
        proxied[0].fall_silent(reassuring=True)
        await eventually(lambda: other.execute(LOCK_HOLDER).fetchall() not in ([], before), within=20)
    await eventually(lambda: works(store), within=20)
    await store.transact("write", notes.write("a", "2"))
    await store.close()


async def works(store: PostgresStore) -> bool:
    """Whether a check passes now."""
    try:
        await store.check()
    except StoreUnavailable:
        return False
    return True


@pytest.fixture
def durable_cluster() -> Iterator[PostgresCluster]:
    """A PostgreSQL server of this test's own that keeps its promises when it is killed."""
    with running_postgres(durable=True) as cluster:
        yield cluster


def started(cluster: PostgresCluster) -> bool:
    """Start it, if the sessions of the killed one are gone."""
    try:
        cluster.start()
    except PostgresFailedError:
        return False
    return True


@pytest.mark.chaos
async def test_killed_postgres_loses_nothing_and_is_found_again(durable_cluster: PostgresCluster) -> None:
    """Operations are refused while PostgreSQL is away and done when it is back; what was acknowledged is there."""
    store = PostgresStore(durable_cluster.create_database(), policy=PATIENT)
    await store.open()
    effects = EffectsLog()
    store.on_commit(effects)
    acknowledged: set[int] = set()
    numbers = itertools.count()
    stop = False

    def write(number: int):
        def operation(state: State) -> None:
            notes.write(f"k{number}", "1")(state)
            state.wake(str(number))

        return operation

    async def call() -> None:
        while not stop:
            number = next(numbers)
            try:
                await store.transact("write", write(number))
            except StoreUnavailable:
                await eventually(lambda: works(store), within=30)
            else:
                acknowledged.add(number)

    calling = [asyncio.ensure_future(call()) for _ in range(8)]
    for _ in range(3):
        before = len(acknowledged)
        await eventually(lambda: len(acknowledged) > before + 50, within=30)  # noqa: B023 - used up in this turn
        await asyncio.to_thread(durable_cluster.kill)
        assert not await works(store)
        await eventually(lambda: asyncio.to_thread(started, durable_cluster), within=30)
        await eventually(lambda: works(store), within=30)
    stop = True
    await asyncio.gather(*calling)
    names = await store.read(lambda state: {row[0] for row in state.db.query("SELECT name FROM meta", ())})
    assert {f"k{number}" for number in acknowledged} <= names
    assert acknowledged <= {int(topic) for topic in effects.wakes}
    await store.close()
