import asyncio
import itertools
import threading
from collections.abc import AsyncIterator, Callable, Iterator

import psycopg
import pytest

from app.domain.errors import StoreUnavailable
from app.domain.nodes import Node
from app.state.postgres.keepalive import MIN_TIMEOUT, Keepalive
from app.state.postgres.store import PostgresStore
from app.state.state import State
from app.state.tables import NODES
from tests.contract.conftest import PATIENT
from tests.support import notes
from tests.support.cutting import CuttingProxy, cutting_proxy
from tests.support.effects import EffectsLog
from tests.support.postgres import (
    LOCK_HOLDER,
    PostgresCluster,
    PostgresFailedError,
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


async def test_a_lost_session_is_replaced(postgres_url: str) -> None:
    """When the session that the store watches ends, it opens another one by itself, and goes on."""
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


async def test_a_server_from_before_there_were_nodes_is_not_alone_with_them(postgres_url: str) -> None:
    """It wants the database for itself: nodes wait for its end, and it cannot start while there are nodes."""
    store = PostgresStore(postgres_url, policy=PATIENT)
    with psycopg.connect(postgres_url, autocommit=True) as earlier:
        earlier.execute("SELECT pg_advisory_lock(%s)", (EARLIER_LOCK,))
        with pytest.raises(StoreUnavailable, match="a server of an earlier version is using this database"):
            await store.open()
        earlier.execute("SELECT pg_advisory_unlock(%s)", (EARLIER_LOCK,))
        await store.open()
        another = PostgresStore(postgres_url, policy=PATIENT)
        await another.open()
        assert not has_lock_of_earlier_servers(earlier)
        await another.close()
        await store.close()
        await eventually(lambda: has_lock_of_earlier_servers(earlier))


EARLIER_LOCK = 0x5357_4152_4D


def has_lock_of_earlier_servers(session: psycopg.Connection) -> bool:
    """Whether a session has the database for itself now."""
    return session.execute("SELECT pg_try_advisory_lock(%s)", (EARLIER_LOCK,)).fetchone() == (True,)


def registered(name: str) -> Callable[[State], None]:
    """Write the row of a node."""
    return lambda state: NODES.insert(state.db, Node(name, "http://node", "1", state.now, state.now, False))


def dead(name: str) -> Callable[[State], int]:
    """Declare a node dead."""
    return lambda state: NODES.update(state.db, name, dead_at=state.now)


async def entered(url: str, name: str) -> PostgresStore:
    """The store of a node."""
    store = PostgresStore(url, connections=2, policy=PATIENT)
    await store.open()
    await store.transact("register", registered(name))
    await store.enter(name)
    await store.transact("write", notes.write(name, "here"))
    return store


async def test_a_node_that_was_declared_dead_commits_nothing(postgres_url: str) -> None:
    """Neither what it has under way nor anything new, however its connections were made; as another node it goes on."""
    former, other = await entered(postgres_url, "N-1"), await entered(postgres_url, "N-2")
    begun, go_on = threading.Event(), threading.Event()

    def slow(state: State) -> None:
        notes.write("a", "late")(state)
        begun.set()
        go_on.wait(60)

    under_way = asyncio.ensure_future(former.transact("slow", slow))
    assert await asyncio.to_thread(begun.wait, 60)
    await other.transact("declare_dead", dead("N-1"))
    await other.end_sessions_of("N-1")
    go_on.set()
    with pytest.raises(StoreUnavailable):
        await under_way
    for _ in range(3):
        with pytest.raises(StoreUnavailable):
            await former.transact("write", notes.write("a", "later"))
    await eventually(lambda: says_that_it_was_replaced(former))
    assert await other.read(notes.read("a")) is None
    refused = former.counts.fenced_writes
    with pytest.raises(StoreUnavailable):
        await former.transact("write", notes.write("a", "too late"))
    assert former.counts.fenced_writes == refused + 1
    assert other.counts.fenced_writes == 0

    await former.enter(None)
    await former.transact("register", registered("N-3"))
    await former.enter("N-3")
    await former.transact("write", notes.write("a", "new"))
    assert await other.read(notes.read("a")) == "new"
    await former.close()
    await other.close()


async def says_that_it_was_replaced(store: PostgresStore) -> bool:
    """Whether a store refuses everything because its node was declared dead."""
    with pytest.raises(StoreUnavailable) as refusal:
        await store.read(notes.read("a"))
    return store.fenced and "was replaced" in refusal.value.reason


async def test_a_node_without_sessions_is_known_to_be_gone(postgres_url: str) -> None:
    """At once after its process, unless PostgreSQL itself was started since its last heartbeat."""
    former, other = await entered(postgres_url, "N-1"), await entered(postgres_url, "N-2")
    now = await other.read(State.database_now)
    assert await other.without_sessions({"N-1": now}) == []
    await former.close()
    await eventually(lambda: is_without_sessions(other, "N-1", now))
    assert await other.without_sessions({"N-1": 0, "N-2": now}) == []
    await other.close()


async def is_without_sessions(store: PostgresStore, name: str, seen_at: int) -> bool:
    """Whether a node has no session."""
    return await store.without_sessions({name: seen_at}) == [name]


KEEPALIVE = Keepalive(MIN_TIMEOUT)
"""What the tests of dead hosts wait for."""


@pytest.mark.timeout(300)
async def test_a_session_that_never_heard_of_its_end_is_replaced(
    postgres_url: str, proxied: tuple[CuttingProxy, str]
) -> None:
    """A network that broke for the server alone does not keep it from its database."""
    store = PostgresStore(proxied[1], policy=PATIENT, keepalive=KEEPALIVE)
    await store.open()
    await store.transact("write", notes.write("a", "1"))
    with psycopg.connect(postgres_url, autocommit=True) as other:
        before = set(other.execute(LOCK_HOLDER).fetchall())
        proxied[0].fall_silent(reassuring=True)
        await eventually(lambda: set(other.execute(LOCK_HOLDER).fetchall()) - before)
    await eventually(lambda: works(store))
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
                await eventually(lambda: works(store))
            else:
                acknowledged.add(number)

    calling = [asyncio.ensure_future(call()) for _ in range(8)]
    for _ in range(3):
        before = len(acknowledged)
        await eventually(lambda: len(acknowledged) > before + 50)  # noqa: B023 - used up in this turn
        await asyncio.to_thread(durable_cluster.kill)
        assert not await works(store)
        await eventually(lambda: asyncio.to_thread(started, durable_cluster))
        await eventually(lambda: works(store))
    stop = True
    await asyncio.gather(*calling)
    names = await store.read(lambda state: {row[0] for row in state.db.query("SELECT name FROM meta", ())})
    assert {f"k{number}" for number in acknowledged} <= names
    assert acknowledged <= {int(topic) for topic in effects.wakes}
    await store.close()
