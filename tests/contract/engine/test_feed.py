"""Following the feed: every event once and in order, from any cursor, also beside slow readers."""

import asyncio

import pytest

from app.bus.local import LocalBus
from app.domain.events import Event, EventKind, Lagged
from app.engine import feed
from app.engine.feed import EventStream
from app.state.state import State
from tests.support.swarms import Plan, Swarm, crash, seen
from tests.support.waiting import eventually

DEADLINE_S = 60


async def events(swarm: Swarm, count: int) -> None:
    """So many events in one transaction."""

    def run(state: State) -> None:
        for n in range(count):
            state.emit(EventKind.RESULT_POSTED, namespace=1, n=n)

    await swarm.engine.with_state("events", run)


async def drained(stream: EventStream, last: int) -> tuple[list[int], int]:
    """The cursors up to `last`, and how often the stream said that it lagged."""
    cursors: list[int] = []
    lagged = 0
    async with asyncio.timeout(DEADLINE_S):
        while not cursors or cursors[-1] < last:
            item = await anext(stream)
            if isinstance(item, Lagged):
                assert item.cursor == (cursors[-1] if cursors else item.cursor)
                lagged += 1
            else:
                cursors.append(item.cursor)
    return cursors, lagged


async def last_cursor(swarm: Swarm) -> int:
    """The newest event's."""
    return (await swarm.events())[-1].cursor


async def test_a_stream_begins_where_it_is_told(swarm: Swarm) -> None:
    """From the beginning, from a cursor, or live from now."""
    await events(swarm, 5)
    everything = await swarm.events()
    engine = swarm.engine
    async with asyncio.timeout(DEADLINE_S):
        async with engine.subscribe(after=0) as stream:
            assert await seen(stream, len(everything)) == everything
        async with engine.subscribe(after=everything[3].cursor) as stream:
            assert await seen(stream, 2) == everything[4:6]
            assert stream.cursor == everything[5].cursor
        async with engine.subscribe() as stream:
            assert await stream.open() >= everything[-1].cursor
            await events(swarm, 1)
            item = await anext(stream)
            assert isinstance(item, Event)
            assert item.cursor > everything[-1].cursor


async def test_a_reader_goes_on_from_its_cursor(swarm: Swarm) -> None:
    """Left and come back, again and again, it misses nothing and sees nothing twice."""
    await events(swarm, 40)
    everything = [event.cursor for event in await swarm.events()]
    found: list[int] = []
    async with asyncio.timeout(DEADLINE_S):
        while len(found) < len(everything):
            async with swarm.engine.subscribe(after=found[-1] if found else 0) as stream:
                count = min(7, len(everything) - len(found))
                found += [item.cursor for item in await seen(stream, count)]
    assert found == everything


async def test_a_cursor_outlives_the_server(plan: Plan) -> None:
    """The next process goes on where the reader stood."""
    engine = plan.engine()
    await engine.start()
    swarm = await Swarm.over(engine, plan)
    await events(swarm, 3)
    cursor = (await swarm.events())[-2].cursor
    await crash(engine)
    swarm.engine = plan.engine()
    async with swarm.engine:
        await events(swarm, 1)
        async with asyncio.timeout(DEADLINE_S), swarm.engine.subscribe(after=cursor) as stream:
            found = await seen(stream, 2)
        assert [item.cursor for item in found] == [event.cursor for event in await swarm.events()][-2:]


async def test_filters_leave_the_cursor_moving(swarm: Swarm) -> None:
    """By kind and by task; what is filtered out is passed, so that going on from the cursor does not read it again."""
    one, two = await swarm.external(), await swarm.external()
    await swarm.submit(one)
    await swarm.submit(two)
    async with asyncio.timeout(DEADLINE_S):
        async with swarm.engine.subscribe(after=0, task_id=one.task_id) as stream:
            found = await seen(stream, 5)
            assert [item.kind for item in found if isinstance(item, Event)] == await swarm.kinds(one.task_id)
        async with swarm.engine.subscribe(after=0, kinds=frozenset({"task_pass"})) as stream:
            found = await seen(stream, 2)
            assert [item.task_id for item in found if isinstance(item, Event)] == [one.task_id, two.task_id]
            waiting = asyncio.ensure_future(anext(stream))
            await events(swarm, 3)
            end = await last_cursor(swarm)
            await eventually(lambda: (stream.cursor or 0) >= end)
            waiting.cancel()


async def test_a_slow_reader_is_told_and_loses_nothing(swarm: Swarm, monkeypatch: pytest.MonkeyPatch) -> None:
    """A stream that fell behind the ring gets Lagged with its cursor, and then still every event."""
    monkeypatch.setattr(feed, "RING", 50)
    monkeypatch.setattr(feed, "PAGE", 20)
    async with swarm.engine.subscribe(after=0) as slow, swarm.engine.subscribe() as quick:
        await quick.open()
        start, _ = await drained(slow, await last_cursor(swarm))
        idle = asyncio.ensure_future(anext(slow))
        await asyncio.sleep(0)
        for _ in range(10):
            await events(swarm, 30)
        end = await last_cursor(swarm)
        fast, told = await drained(quick, end)
        await eventually(lambda: swarm.engine.event_tx.recent(end - 1), awaited="the ring to hold the last event")
        first = await idle
        cursors, lagged = await drained(slow, end)

    everything = [event.cursor for event in await swarm.events()]
    behind = [] if isinstance(first, Lagged) else [first.cursor]
    assert start + behind + cursors == everything
    assert lagged + isinstance(first, Lagged) >= 1
    assert fast == everything[len(start) :]
    assert told >= 0


async def test_a_reader_never_slows_the_engine(swarm: Swarm, monkeypatch: pytest.MonkeyPatch) -> None:
    """What nobody takes is not kept: the ring stays as long as it is."""
    monkeypatch.setattr(feed, "RING", 50)
    hub = swarm.engine.event_tx
    async with swarm.engine.subscribe(after=0):
        for _ in range(10):
            await events(swarm, 50)
        end = await last_cursor(swarm)
        await eventually(lambda: (hub._tail or 0) >= end)
        assert len(hub._ring) <= 50


async def test_many_readers_see_the_same(swarm: Swarm) -> None:
    """Readers that begin at any time, while many transactions commit at once, each see every event in one order."""
    streams = [swarm.engine.subscribe(after=0) for _ in range(5)]
    read = [asyncio.ensure_future(_until_marked(stream)) for stream in streams]
    works = await asyncio.gather(*(swarm.external() for _ in range(30)))
    late = [swarm.engine.subscribe(after=0) for _ in range(5)]
    read += [asyncio.ensure_future(_until_marked(stream)) for stream in late]
    await asyncio.gather(*(swarm.submit(work) for work in works))
    await swarm.engine.switch.pause(swarm.senior)

    async with asyncio.timeout(DEADLINE_S):
        found = await asyncio.gather(*read)

    everything = [event.cursor for event in await swarm.events()]
    assert all(cursors == everything for cursors in found)
    for stream in streams + late:
        await stream.aclose()


async def _until_marked(stream: EventStream) -> list[int]:
    cursors: list[int] = []
    async for item in stream:
        assert isinstance(item, Event)
        cursors.append(item.cursor)
        if item.kind == "loop_paused":
            break
    return cursors


async def test_a_closed_stream_ends(swarm: Swarm) -> None:
    """A waiting reader returns, closing twice is no error, and the feed reads no more."""
    stream = swarm.engine.subscribe()
    waiting = asyncio.ensure_future(anext(stream, None))
    await stream.open()
    await stream.aclose()
    await stream.aclose()
    async with asyncio.timeout(DEADLINE_S):
        assert await waiting is None
    assert swarm.engine.event_tx._runner is None

    async with swarm.engine.subscribe() as again:
        await again.open()
        await swarm.task()
        async with asyncio.timeout(DEADLINE_S):
            assert isinstance(await anext(again), Event)


async def test_streams_end_with_the_engine(plan: Plan) -> None:
    """Those that wait, and those that were never read."""
    engine = plan.engine()
    await engine.start()
    untouched, read = engine.subscribe(), engine.subscribe(after=0)
    waiting = asyncio.ensure_future(anext(read, None))
    await asyncio.sleep(0)
    await engine.stop()
    async with asyncio.timeout(DEADLINE_S):
        assert await waiting is None
        assert await anext(untouched, None) is None


class LateTail(feed.Feed):
    """A feed whose tail starts when `begin` is set; the first request for the head is signalled."""

    def __init__(self, swarm: Swarm) -> None:
        super().__init__(swarm.engine.store, LocalBus(), poll_interval_s=0.01)
        self.begin = asyncio.Event()
        self._asked = 0

    async def head(self) -> int:
        """As ever, but late for the tail, which asks second."""
        self._asked += 1
        if self._asked > 1:
            await self.begin.wait()
        return await super().head()


async def test_who_has_read_everything_when_the_tail_begins_has_not_lagged(swarm: Swarm) -> None:
    """An event that comes in between is read from the store."""
    late = LateTail(swarm)
    async with late.follow(after=None) as stream:
        await stream.open()
        reading = asyncio.ensure_future(anext(stream))
        await swarm.engine.store.read(lambda state: None)
        task_id = await swarm.task()
        late.begin.set()
        async with asyncio.timeout(DEADLINE_S):
            item = await reading
        assert isinstance(item, Event)
        assert item.task_id == task_id
    await late.close()


async def test_a_reader_that_gives_up_a_wait_loses_nothing(swarm: Swarm) -> None:
    """Cancelling the wait for the next event leaves the stream where it was."""
    async with swarm.engine.subscribe() as stream:
        await stream.open()
        for _ in range(5):
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(anext(stream), 0.005)
        task_id = await swarm.task()
        async with asyncio.timeout(DEADLINE_S):
            item = await anext(stream)
        assert isinstance(item, Event)
        assert item.task_id == task_id


async def test_a_reader_whose_cursor_lies_ahead_of_the_feed_is_told(swarm: Swarm) -> None:
    """As after a restore of an older copy: it gets Lagged with the end of the feed at once, then new events."""
    head = await swarm.engine.feed.head()
    async with swarm.engine.subscribe(after=head + 10**9) as stream, asyncio.timeout(60):
        told = await anext(stream)
        assert isinstance(told, Lagged)
        assert told.cursor < head + 10**9
        task_id = await swarm.task()
        event = await anext(stream)
        assert isinstance(event, Event)
        assert (event.kind, event.task_id) == ("task_created", task_id)
