"""The live event feed: many streams, one reader of the store, no queue that can grow.

One task reads new events from the store into a ring buffer. A stream that keeps up reads from the ring; one that fell
out of it yields `Lagged` and reads on from the store, page by page, until it has caught up.
"""

from __future__ import annotations

import asyncio
import math
from bisect import bisect_right
from collections import deque
from dataclasses import dataclass
from types import TracebackType

from app.bus.port import HintBus
from app.domain.events import Event, Lagged
from app.domain.namespaces import ALL_ID
from app.engine.ops.queries import learn_names
from app.engine.retrying import try_step
from app.state import feed
from app.state.port import Store
from app.state.state import State

RING = 8192
PAGE = 500
TOPIC = "feed"
SOON_S = (0.02, 0.1, 0.5)
"""When to look again after a hint: an event whose transaction began later than one that is still open shows itself only
when that one is over, and that need not give a hint of its own."""


class Feed:
    """The tail of the feed in this process. Reads nothing while there is no stream.

    The ring holds every event after `_floor` up to `_tail`; both are None until the first read. `_acknowledged` is the
    latest cursor that this process has committed.
    """

    def __init__(self, store: Store, bus: HintBus, *, poll_interval_s: float) -> None:
        self._store = store
        self._bus = bus
        self._poll_interval_s = poll_interval_s
        self._ring: deque[Event] = deque()
        self._floor: int | None = None
        self._tail: int | None = None
        self._streams: set[EventStream] = set()
        self._beginning: set[EventStream] = set()
        self._acknowledged: int | None = None
        self._runner: asyncio.Task[None] | None = None

    @property
    def tail(self) -> int | None:
        """The cursor up to which this process has read the feed; None while nobody follows it."""
        return self._tail

    async def open(self) -> None:
        """Read the head of the feed, where live streams begin."""
        self._acknowledged = await self.head()

    def committed(self, first: int, last: int) -> None:
        """Record events that this process has committed; called before their commit is acknowledged."""
        if self._acknowledged is not None and last > self._acknowledged:
            self._acknowledged = last
        for stream in self._beginning:
            stream.begin_before(first)
        self._bus.publish((TOPIC,))

    def has_begun(self, stream: EventStream) -> None:
        """Remove a stream from those without a start; called by the stream when it knows its start."""
        self._beginning.discard(stream)

    def follow(
        self,
        *,
        after: int | None = None,
        kinds: frozenset[str] | None = None,
        task_id: str | None = None,
        namespace: int = ALL_ID,
    ) -> EventStream:
        """Return a new stream, from `after` or from now: of one namespace, with what everybody sees, or of all."""
        wanted = Wanted(kinds, task_id, namespace)
        # What other nodes commit is acknowledged there: behind it a live stream would begin in the past.
        end = None if self._bus.had_others else self._acknowledged
        stream = EventStream(self, after=after, end=end, wanted=wanted)
        self._streams.add(stream)
        if after is None:
            self._beginning.add(stream)
        if self._runner is None or self._runner.done():
            self._runner = asyncio.get_running_loop().create_task(self._run(), name="feed-tail")
        return stream

    def leave(self, stream: EventStream) -> None:
        """Remove a stream; called by the stream when it is closed."""
        self._streams.discard(stream)
        self._beginning.discard(stream)
        if not self._streams:
            self._stop()

    def _stop(self) -> None:
        if self._runner is not None:
            self._runner.cancel()
            self._runner = None
        self._ring.clear()
        self._floor = self._tail = None

    async def close(self) -> None:
        """End every stream."""
        for stream in list(self._streams):
            stream.end()
        self._stop()

    async def head(self) -> int:
        """Return the feed's last cursor: every event after it is still to be committed."""
        return await self._store.read(lambda state: feed.head(state.db))

    async def page(self, after: int, limit: int = PAGE) -> list[Event]:
        """Return events after the cursor `after`, from the store."""
        return await self._store.read(lambda state: _page(state, after, limit))

    async def page_of(self, task_id: str | None, after: int) -> tuple[list[Event], int]:
        """Return one task's events (or all) after the cursor `after`, and the cursor up to which they are complete.

        That is the head of the feed, before `after`, where the feed does not reach so far.
        """

        def read(state: State) -> tuple[list[Event], int]:
            # The head first: whatever is committed meanwhile lies after it or is found by the page.
            head = feed.head(state.db)
            events = _page(state, after, PAGE, task_id)
            if not events and head < after:
                return [], head
            last = events[-1].cursor if events else after
            return events, last if len(events) == PAGE else max(last, head)

        return await self._store.read(read)

    async def back(self, count: int, namespace: int = ALL_ID) -> int:
        """Return the cursor after which the latest `count` events of a namespace (or all) follow.

        Of one namespace it looks through the latest `feed.SEARCHED` events of the server.
        """
        return await self._store.read(lambda state: feed.back(state.db, count, namespace), bulk=namespace != ALL_ID)

    def recent(self, cursor: int) -> list[Event] | None:
        """Return a page of the ring's events after `cursor`; None when the ring does not reach back so far."""
        if self._floor is None or cursor < self._floor:
            return None
        start = bisect_right(self._ring, cursor, key=lambda event: event.cursor)
        return [self._ring[i] for i in range(start, min(len(self._ring), start + PAGE))]

    async def _run(self) -> None:
        """Read new events, after each hint and now and then without one."""
        subscription = self._bus.subscribe(TOPIC)
        try:
            soon = iter(SOON_S)
            while True:
                subscription.clear()
                await try_step(self._read_new, doing="read_feed", failure="feed_reader_failed")
                if await subscription.wait(min(next(soon, self._poll_interval_s), self._poll_interval_s)):
                    soon = iter(SOON_S)
        finally:
            subscription.close()

    async def _read_new(self) -> None:
        if self._tail is None:
            self._tail = self._floor = await self.head()
            self._wake()
        while events := await self.page(self._tail):
            self._ring.extend(events)
            self._tail = events[-1].cursor
            while len(self._ring) > RING:
                self._floor = self._ring.popleft().cursor
            self._wake()

    def _wake(self) -> None:
        for stream in self._streams:
            stream.wake()


def _page(state: State, after: int, limit: int, task_id: str | None = None) -> list[Event]:
    """Return events after a cursor, whose namespaces are known by name from now on."""
    events = feed.page(state.db, after, limit, task_id)
    learn_names(state, *(event.namespace for event in events))
    return events


@dataclass(frozen=True, slots=True)
class Wanted:
    """Which events a stream yields: of these kinds, of this task, of this namespace; None and `ALL_ID` are no limit."""

    kinds: frozenset[str] | None
    task_id: str | None
    namespace: int

    def has(self, event: Event) -> bool:
        """Return whether the stream yields the event."""
        return (
            (event.namespace in (self.namespace, ALL_ID) or self.namespace == ALL_ID)
            and (self.kinds is None or event.kind in self.kinds)
            and self.task_id in (None, event.task_id)
        )


class EventStream:
    """An async iterator of Event and Lagged; close it, or use it as a context manager.

    Without a cursor it begins at the moment when it was created: it yields whatever this process commits after that,
    and what other nodes commit after `open`. It holds one page at most.
    """

    def __init__(self, hub: Feed, *, after: int | None, end: int | None, wanted: Wanted) -> None:
        self._hub = hub
        self._latest_start = math.inf if end is None else end
        self._wanted = wanted
        self._read_to = after
        self._cursor = after
        self._on_ring = False
        self._first = True
        self._ended = False
        self._pending: deque[Event | Lagged] = deque()
        self._awake = asyncio.Event()
        self._start = asyncio.get_running_loop().create_task(hub.head()) if after is None else None

    @property
    def cursor(self) -> int | None:
        """The cursor of the latest item: give it as `after` to go on from here. None before a live stream has begun."""
        return self._cursor

    async def open(self) -> int:
        """Wait until the start of the stream is known, and return it. Optional: iterating does it."""
        start = self._start
        if start is not None:
            # Waited for rather than awaited: a caller that is cancelled must not cancel the read for the next one.
            await asyncio.wait({start})
            if self._start is start and not start.cancelled():
                # The head may have passed events that were acknowledged after the stream was created.
                self._cursor = self._read_to = int(min(start.result(), self._latest_start))
            self._start = None
            self._hub.has_begun(self)
        return self._read_to or 0

    def begin_before(self, cursor: int) -> None:
        """Start before this event at the latest: it was committed after the stream was created."""
        self._latest_start = min(self._latest_start, cursor - 1)

    def wake(self) -> None:
        """Wake the stream: there may be new events."""
        self._awake.set()

    def end(self) -> None:
        """Stop the iteration after the current page."""
        self._ended = True
        self._awake.set()
        if self._start is not None:
            self._start.cancel()

    def __aiter__(self) -> EventStream:
        return self

    async def __anext__(self) -> Event | Lagged:
        cursor = await self.open()
        while not self._pending:
            if self._ended:
                raise StopAsyncIteration
            self._awake.clear()
            cursor = await self._read(cursor)
        item = self._pending.popleft()
        self._cursor = item.cursor
        return item

    async def _read(self, cursor: int) -> int:
        """Take the next page, or wait until there may be one; return how far the stream has read."""
        # The first page is the store's: only there shows itself that a cursor lies ahead of the feed.
        events = None if self._first else self._hub.recent(cursor)
        if events is None:
            events, read_to = await self._hub.page_of(self._wanted.task_id, cursor)
            self._first = False
            if read_to < cursor:
                self._pending.append(Lagged(cursor=read_to))
                self._read_to = read_to
                return read_to
            # The ring may begin ahead of a stream that has everything: only one that fell out of it has lagged.
            if self._on_ring and events:
                self._pending.append(Lagged(cursor=cursor))
            self._on_ring = False
        else:
            self._on_ring = True
            read_to = events[-1].cursor if events else cursor
        if read_to == cursor:
            await self._awake.wait()
            return cursor
        self._pending.extend(event for event in events if self._wanted.has(event))
        self._read_to = read_to
        if not self._pending:
            self._cursor = self._read_to
        return self._read_to

    async def aclose(self) -> None:
        """Leave the feed. Idempotent."""
        self.end()
        self._hub.leave(self)

    async def __aenter__(self) -> EventStream:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.aclose()
