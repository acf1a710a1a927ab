"""Hints: every bus wakes who waits here; those of nodes wake who waits there, and lose nothing but time."""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AsyncExitStack
from dataclasses import dataclass
from functools import partial

import psycopg
import pytest

from app.bus.local import LocalBus
from app.bus.nats import NatsLink
from app.bus.port import HintBus
from app.bus.postgres import CHANNEL, PostgresLink
from app.bus.shared import Link, SharedBus
from tests.support.nats import NatsServer, running_nats
from tests.support.postgres import PostgresCluster, running_postgres
from tests.support.waiting import eventually

PULSE_S, SILENCE_S = 0.1, 0.5
STRANGE = ["t\nwo lines", "quo\"te'", "ünïcode 🦀", "x" * 300, "back\\slash", "\u0000"]


@dataclass(frozen=True, slots=True)
class Place:
    """Where buses meet: a server that can fail."""

    link: Callable[[], Link]
    server: PostgresCluster | NatsServer

    def bus(self, **options: float) -> SharedBus:
        """Another node's bus, not open."""
        return SharedBus(self.link(), **{"pulse_s": PULSE_S, "silence_s": 60.0, **options})


@pytest.fixture(scope="module")
def own_cluster() -> Iterator[PostgresCluster]:
    """A PostgreSQL server that these tests may kill."""
    with running_postgres() as cluster:
        yield cluster


@pytest.fixture(scope="module")
def own_nats() -> Iterator[NatsServer]:
    """A NATS server that these tests may kill."""
    with running_nats() as server:
        yield server


def _place(kind: str, request: pytest.FixtureRequest) -> Place:
    if kind == "postgres":
        cluster: PostgresCluster = request.getfixturevalue("own_cluster")
        return Place(lambda: PostgresLink(cluster.url(), {}), cluster)
    server: NatsServer = request.getfixturevalue("own_nats")
    return Place(lambda: NatsLink(f"{server.url}/test"), server)


@pytest.fixture(params=["postgres", "nats"])
def place(request: pytest.FixtureRequest) -> Place:
    """Each kind of place, running."""
    return _place(request.param, request)


@pytest.fixture(params=["local", "postgres", "nats"])
async def bus(request: pytest.FixtureRequest) -> AsyncIterator[HintBus]:
    """Each bus by itself, open."""
    opened = LocalBus() if request.param == "local" else _place(request.param, request).bus()
    await opened.open()
    yield opened
    await opened.close()


@pytest.fixture
async def pair(place: Place) -> AsyncIterator[tuple[SharedBus, SharedBus]]:
    """The buses of two nodes that know of each other."""
    async with AsyncExitStack() as stack:
        yield await _meet(place, stack)


async def _meet(place: Place, stack: AsyncExitStack, **options: float) -> tuple[SharedBus, SharedBus]:
    buses = place.bus(**options), place.bus(**options)
    for bus in buses:
        await bus.open()
        stack.push_async_callback(bus.close)
    await eventually(lambda: all(bus.longest_wait_s for bus in buses))
    return buses


async def _crosses(here: SharedBus, there: SharedBus, topic: str) -> None:
    """Publish here until it arrives there: hints may be lost."""
    subscription = there.subscribe(topic)
    while not await subscription.wait(0.2):
        here.publish([topic])
    subscription.close()


async def test_a_hint_wakes_who_waits_for_its_topic_alone(bus: HintBus) -> None:
    """At once, and once; `clear` discards what came before."""
    here, both, elsewhere = bus.subscribe("a"), bus.subscribe("b", "a"), bus.subscribe("c")
    bus.publish(["a"])
    assert await here.wait(60)
    assert await both.wait(60)
    assert not await elsewhere.wait(0)
    here.clear()
    assert not await here.wait(0)
    waiting = asyncio.create_task(here.wait(60))
    await asyncio.sleep(0)
    bus.publish(iter(["a", "a"]))
    assert await waiting


async def test_who_unsubscribed_or_was_cancelled_costs_nothing(bus: HintBus) -> None:
    """Neither later hints nor the end of the bus concern it."""
    gone, cancelled = bus.subscribe("a"), bus.subscribe("a")
    gone.close()
    gone.close()
    waiting = asyncio.create_task(cancelled.wait(None))
    await asyncio.sleep(0)
    waiting.cancel()
    await asyncio.wait([waiting])
    bus.publish(["a"])
    assert not await gone.wait(0)
    assert await cancelled.wait(0)


async def test_the_end_of_the_bus_wakes_all(bus: HintBus) -> None:
    """So that whoever waits without limit learns of a stop."""
    waiting = asyncio.create_task(bus.subscribe("never").wait(None))
    await asyncio.sleep(0)
    await bus.close()
    assert await waiting


def _has_sent(bus: SharedBus, hints: int) -> bool:
    return bus.counts.sent >= hints


def _has_received(bus: SharedBus, hints: int) -> bool:
    return bus.counts.received >= hints


async def test_hints_of_other_nodes_arrive(pair: tuple[SharedBus, SharedBus]) -> None:
    """Thousands at once, and whatever a topic is named, in both directions."""
    for here, there in (pair, pair[::-1]):
        topics = [f"attempt:{number}" for number in range(5_000)] + STRANGE
        subscriptions = [there.subscribe(topic) for topic in topics]
        here.publish(topics)
        assert all([await subscription.wait(None) for subscription in subscriptions])
        # A waiter may have been woken for another reason: that there are other nodes at all.
        await eventually(partial(_has_received, there, len(topics)))
        await eventually(partial(_has_sent, here, len(topics)))
        assert (here.counts.lost, here.failure) == (0, None)
        for subscription in subscriptions:
            subscription.close()


async def test_a_node_alone_sends_no_hints(place: Place) -> None:
    """Its waiters read as rarely as they wish; once another one comes, both read again at short intervals."""
    async with AsyncExitStack() as stack:
        alone = place.bus()
        await alone.open()
        stack.push_async_callback(alone.close)
        alone.publish(["a"])
        assert alone.longest_wait_s is None
        waiting = asyncio.create_task(alone.subscribe("b").wait(None))
        other = place.bus()
        await other.open()
        assert await waiting
        assert alone.counts.sent == alone.counts.received == 0
        await _crosses(alone, other, "a")
        await other.close()
        await eventually(lambda: alone.longest_wait_s is None)


async def test_a_wait_ends_early_while_there_are_other_nodes(place: Place) -> None:
    """So that a lost hint costs a few seconds, whatever the waiter's own interval is."""
    async with AsyncExitStack() as stack:
        here, _ = await _meet(place, stack, reread_s=0.01)
        assert not await here.subscribe("a").wait(None)


async def test_a_topic_above_the_limit_stays_here(pair: tuple[SharedBus, SharedBus]) -> None:
    """It is counted as lost; those beside it arrive."""
    here, there = pair
    huge = "x" * 300_000
    mine, theirs = here.subscribe(huge), there.subscribe("small")
    here.publish([huge, "small"])
    assert await mine.wait(None)
    assert await theirs.wait(None)
    assert here.counts.lost == 1


async def test_a_server_that_dies_only_delays(place: Place) -> None:
    """Hints here go on, the failure is known, and all is well again when the server is back."""
    async with AsyncExitStack() as stack:
        here, there = await _meet(place, stack)
        place.server.kill()
        try:
            await eventually(lambda: here.failure and there.failure)
            mine = here.subscribe("a")
            here.publish(["a"])
            assert await mine.wait(60)
        finally:
            await asyncio.to_thread(place.server.start)
        waiting = asyncio.create_task(there.subscribe("never").wait(None))
        await _crosses(here, there, "b")
        assert await waiting
        await eventually(lambda: (here.failure, there.failure) == (None, None))
        assert here.counts.reconnects >= 1


async def test_a_server_that_hangs_is_noticed(place: Place) -> None:
    """Its connections stay open, and what is sent does not come back."""
    async with AsyncExitStack() as stack:
        here, there = await _meet(place, stack, silence_s=SILENCE_S)
        place.server.pause()
        try:
            await eventually(lambda: here.failure)
        finally:
            place.server.resume()
        await _crosses(here, there, "b")
        await eventually(lambda: here.failure is None)


async def test_a_server_that_is_away_at_the_start_does_not_keep_a_node_from_starting(place: Place) -> None:
    """It is degraded until the server is there."""
    async with AsyncExitStack() as stack:
        place.server.kill()
        try:
            bus = place.bus()
            await bus.open()
            stack.push_async_callback(bus.close)
            assert bus.failure
        finally:
            await asyncio.to_thread(place.server.start)
        await eventually(lambda: bus.failure is None)


async def test_not_hearing_nodes_that_are_alive_is_a_failure(place: Place) -> None:
    """As when one of them has another bus."""
    async with AsyncExitStack() as stack:
        bus = place.bus()
        await bus.open()
        stack.push_async_callback(bus.close)
        bus.expect_others(True)
        assert bus.longest_wait_s is not None
        await eventually(lambda: "SWARMHOLD_BUS_URL" in (bus.failure or ""))
        bus.expect_others(False)
        assert bus.failure is None


async def test_what_is_no_payload_is_left_out(own_cluster: PostgresCluster) -> None:
    """Whoever may notify can wake waiters, and break nothing."""
    place = Place(lambda: PostgresLink(own_cluster.url(), {}), own_cluster)
    async with AsyncExitStack() as stack:
        here, there = await _meet(place, stack)
        with psycopg.connect(own_cluster.url(), autocommit=True) as stranger:
            for payload in ("", "{", "[]", "7", '["a", 1]', '["a", ["b"]]', "null"):
                stranger.execute("SELECT pg_notify(%s, %s)", (CHANNEL, payload))
        await _crosses(here, there, "a")
        assert (here.failure, there.failure) == (None, None)
