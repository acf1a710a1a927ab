import asyncio
import shutil
import threading
from collections.abc import Callable
from pathlib import Path

import psycopg
import pytest

from app.domain.events import Event, EventKind
from app.state import feed
from app.state.feed import SLOTS_PER_TRANSACTION
from app.state.port import Store
from app.state.postgres import cursors
from app.state.postgres.store import PostgresStore
from app.state.sqlite import files as sqlite_files
from app.state.sqlite.store import SqliteStore
from app.state.state import State
from app.state.tables import get_meta, set_meta
from tests.contract.conftest import PATIENT
from tests.support.clocks import HandClock


def tell(label: str, count: int = 1):
    """Append events."""

    def operation(state: State) -> None:
        for place in range(count):
            state.emit(EventKind.WORKER_OUTPUT, namespace=1, task_id="T-1", label=f"{label}.{place}")

    return operation


def page_behind(cursor: int, limit: int) -> Callable[[State], list[Event]]:
    """Read a page of the feed."""
    return lambda state: feed.page(state.db, cursor, limit)


async def labels_behind(store: Store, cursor: int) -> list[str]:
    """Everything after a cursor, in order."""
    found: list[str] = []
    while page := await store.read(page_behind(cursor, 7)):
        found += [event.data.value["label"] for event in page if event.data is not None]
        cursor = page[-1].cursor
    return found


async def test_events_are_read_in_order_from_any_cursor(store: Store) -> None:
    """Pages are contiguous, and the events of one operation keep their order."""
    head = await store.read(lambda state: feed.head(state.db))
    for number in range(5):
        await store.transact("tell", tell(str(number), 3))
    assert await labels_behind(store, head) == [f"{n}.{place}" for n in range(5) for place in range(3)]
    later = await store.read(lambda state: feed.head(state.db))
    assert await labels_behind(store, later) == []
    await store.transact("tell", tell("new"))
    assert await labels_behind(store, later) == ["new.0"]


async def test_failed_operation_tells_nothing(store: Store) -> None:
    """The events of an operation that failed are not in the feed."""
    head = await store.read(lambda state: feed.head(state.db))

    def fail(state: State) -> None:
        tell("bad")(state)
        raise ValueError

    await asyncio.gather(
        store.transact("tell", tell("a")),
        store.transact("fail", fail),
        store.transact("tell", tell("b")),
        return_exceptions=True,
    )
    assert sorted(await labels_behind(store, head)) == ["a.0", "b.0"]


async def test_reader_that_follows_skips_and_doubles_nothing(store: Store) -> None:
    """A follower that reads while operations of every length commit sees each event exactly once."""
    cursor = await store.read(lambda state: feed.head(state.db))
    done = asyncio.Event()
    seen: list[str] = []

    async def follow() -> None:
        nonlocal cursor
        while True:
            last = done.is_set()
            page = await store.read(page_behind(cursor, 10))
            for event in page:
                assert event.cursor > cursor
                assert event.data is not None
                cursor = event.cursor
                seen.append(event.data.value["label"])
            if last and not page:
                return
            await asyncio.sleep(0)

    async def write() -> None:
        await asyncio.gather(*(store.transact("tell", tell(str(n), 1 + n % 3), bulk=n % 7 == 0) for n in range(150)))
        done.set()

    async with asyncio.timeout(60):
        await asyncio.gather(follow(), write())
    assert sorted(seen) == sorted(f"{n}.{place}" for n in range(150) for place in range(1 + n % 3))


async def test_reader_never_passes_a_transaction_that_is_open(postgres_url: str) -> None:
    """In PostgreSQL an event that is committed after its successors is still read, and read before them."""
    store = PostgresStore(postgres_url, policy=PATIENT)
    await store.open()
    head = await store.read(lambda state: feed.head(state.db))
    told, go_on = threading.Event(), threading.Event()

    def slow(state: State) -> None:
        set_meta(state.db, "a", "the transaction gets its place in the feed with its first write")
        tell("slow")(state)
        told.set()
        assert go_on.wait(60)

    under_way = asyncio.ensure_future(store.transact("slow", slow, bulk=True))
    try:
        assert await asyncio.to_thread(told.wait, 20)
        for number in range(5):
            await store.transact("tell", tell(str(number)))
        assert await labels_behind(store, head) == []
        assert await store.read(lambda state: feed.head(state.db)) <= head + SLOTS_PER_TRANSACTION
        count, oldest_at = await store.read(lambda state: feed.unread(state.db, feed.head(state.db)))
        assert count == 5
        assert oldest_at is not None
    finally:
        go_on.set()
        await under_way
    assert await labels_behind(store, head) == ["slow.0", *(f"{n}.0" for n in range(5))]
    assert await store.read(lambda state: feed.unread(state.db, feed.head(state.db))) == (0, None)
    await store.close()


@pytest.mark.parametrize("known_by", ["events", "note"])
async def test_cursors_grow_where_transaction_ids_begin_anew(postgres_url: str, known_by: str) -> None:
    """A database restored into a younger cluster goes on after its old cursors, and again after a reopening."""
    store = PostgresStore(postgres_url)
    await store.open()
    await store.transact("tell", tell("old"))
    far = 10**9
    if known_by == "events":
        with psycopg.connect(postgres_url) as other:
            other.execute("UPDATE events SET cursor = %s", (far * SLOTS_PER_TRANSACTION,))
    else:
        await store.transact("note", lambda state: set_meta(state.db, "feed_highest", str(far)))
    await store.close()
    for label in ("first", "second"):
        await store.open()
        head = await store.read(lambda state: feed.head(state.db))
        assert head > far * SLOTS_PER_TRANSACTION
        await store.transact("tell", tell(label))
        assert await labels_behind(store, head) == [f"{label}.0"]
        await store.close()


# A copy that is restored


async def test_a_restored_copy_goes_on_above_every_cursor_issued_since(postgres_url: str, tmp_path: Path) -> None:
    """On both databases: what the original appended after the copy was made stays below."""
    file = tmp_path / "copy.db"
    for store, leap in (
        (SqliteStore(str(file)), lambda: sqlite_files.leap_cursors(file, 60.0)),
        (PostgresStore(postgres_url), lambda: cursors.leap_cursors(postgres_url, 60.0)),
    ):
        await store.open()
        await store.transact("tell", tell("before"))
        issued = await store.read(lambda state: feed.head(state.db))
        await store.close()
        leap()
        await store.open()
        head = await store.read(lambda state: feed.head(state.db))
        assert head >= issued + 3_660 * 100_000
        await store.transact("tell", tell("after"))
        assert await labels_behind(store, head) == ["after.0"]
        await store.close()


AWAY_S = 3600


async def test_an_older_file_that_was_put_back_goes_on_above_every_cursor_issued_since(tmp_path: Path) -> None:
    """Nothing marks it as a copy: that no server had it open for long is enough."""
    clock, file, copy = HandClock(), tmp_path / "node.db", tmp_path / "copy.db"
    store = SqliteStore(str(file), clock=clock)
    await store.open()
    await store.transact("tell", tell("before"))
    await store.check()
    await store.close()
    shutil.copy(file, copy)
    await store.open()
    for number in range(5):
        await store.transact("tell", tell(f"lost {number}", 100))
    issued = await store.read(lambda state: feed.head(state.db))
    await store.close()
    copy.replace(file)
    clock.advance(AWAY_S)

    await store.open()
    assert await store.read(lambda state: feed.head(state.db)) > issued
    await store.transact("tell", tell("after"))
    assert await labels_behind(store, issued) == ["after.0"]
    await store.close()


async def test_a_short_absence_leaves_the_cursors_alone(tmp_path: Path) -> None:
    """A server that is started again goes on without a jump."""
    clock = HandClock()
    store = SqliteStore(str(tmp_path / "node.db"), clock=clock)
    await store.open()
    await store.transact("tell", tell("before"))
    await store.check()
    issued = await store.read(lambda state: feed.head(state.db))
    await store.close()
    clock.advance(30)
    await store.open()
    assert await store.read(lambda state: feed.head(state.db)) == issued
    await store.close()


async def test_a_database_of_another_history_goes_on_above_every_cursor_issued_since(postgres_url: str) -> None:
    """After a recovery to a point in time, say: the cluster has another timeline than the database remembers."""
    clock = HandClock()
    store = PostgresStore(postgres_url, clock=clock)
    await store.open()
    await store.transact("tell", tell("before"))
    await store.check()
    head = await store.read(lambda state: feed.head(state.db))
    history = await store.read(lambda state: get_meta(state.db, "feed_history"))
    assert history is not None
    assert history.endswith("/00000001")
    await store.transact("note", lambda state: set_meta(state.db, "feed_history", history[:-1] + "0"))
    await store.close()
    clock.advance(AWAY_S)

    await store.open()
    leapt = await store.read(lambda state: feed.head(state.db))
    assert leapt > head + AWAY_S * feed.TRANSACTIONS_PER_S * SLOTS_PER_TRANSACTION
    await store.transact("tell", tell("after"))
    assert await labels_behind(store, head) == ["after.0"]
    await store.close()

    await store.open()
    assert await store.read(lambda state: feed.head(state.db)) < leapt + 10**6 * SLOTS_PER_TRANSACTION
    await store.close()
