import asyncio
import threading

import pytest
from structlog.testing import capture_logs

from app.state.opening import open_store
from app.state.policies import HoldPolicy
from app.state.port import Store
from app.state.state import State
from app.state.tables import get_meta, set_meta
from tests.contract.conftest import PATIENT
from tests.support import notes


@pytest.mark.parametrize("bulk", [False, True])
async def test_read_sees_what_was_acknowledged(store: Store, bulk: bool) -> None:
    """A read that begins after a write was acknowledged sees it, every time."""
    for number in range(50):
        await store.transact("write", notes.write("a", str(number)))
        assert await store.read(notes.read("a"), bulk=bulk) == str(number)


@pytest.mark.parametrize("bulk", [False, True])
async def test_writing_in_a_read_is_refused(store: Store, bulk: bool) -> None:
    """A write in a read raises TypeError, keeps nothing, and the next read and write work."""
    with pytest.raises(TypeError, match="transact"):
        await store.read(notes.write("a", "1"), bulk=bulk)
    with pytest.raises(TypeError, match="transact"):
        await store.read(
            lambda state: state.db.query("INSERT INTO meta (name, value) VALUES ('a', '1') RETURNING name", ()),
            bulk=bulk,
        )
    assert await store.read(notes.read("a"), bulk=bulk) is None
    await store.transact("write", notes.write("a", "2"))
    assert await store.read(notes.read("a"), bulk=bulk) == "2"


async def test_coroutine_function_is_refused_by_read(store: Store) -> None:
    """A read may not wait either."""

    async def operation(state: State) -> None:
        raise AssertionError("it must not run")

    with pytest.raises(TypeError, match="plain function"):
        await store.read(operation)


async def test_error_of_a_read_reaches_its_caller(store: Store) -> None:
    """What a read raises is raised to its caller, and the next read works."""
    with pytest.raises(ZeroDivisionError):
        await store.read(lambda state: 1 // 0)
    assert await store.read(notes.read("a")) is None


async def test_read_is_one_snapshot(store: Store) -> None:
    """Two rows that are always written together are never read apart."""
    done = asyncio.Event()

    def both(number: int):
        def operation(state: State) -> None:
            set_meta(state.db, "a", str(number))
            set_meta(state.db, "b", str(number))

        return operation

    async def write() -> None:
        for number in range(200):
            await store.transact("both", both(number), bulk=number % 20 == 0)
        done.set()

    async def compare(*, bulk: bool) -> None:
        while not done.is_set():
            a, b = await store.read(lambda state: (get_meta(state.db, "a"), get_meta(state.db, "b")), bulk=bulk)
            assert a == b
            await asyncio.sleep(0)

    await asyncio.gather(write(), compare(bulk=False), compare(bulk=True))


async def test_uncommitted_work_is_never_read(store: Store) -> None:
    """While an operation is under way reads see the state before it, or wait for its end."""
    await store.transact("write", notes.write("a", "old"))
    written, go_on = threading.Event(), threading.Event()

    def operation(state: State) -> None:
        set_meta(state.db, "a", "new")
        written.set()
        assert go_on.wait(60)

    under_way = asyncio.ensure_future(store.transact("slow", operation, bulk=True))
    assert await asyncio.to_thread(written.wait, 20)
    reading = asyncio.ensure_future(store.read(notes.read("a")))
    finished, _ = await asyncio.wait([reading], timeout=0.05)
    waits = not finished
    go_on.set()
    await under_way
    assert await reading == ("new" if waits else "old")
    assert await store.read(notes.read("a")) == "new"


async def test_failed_bulk_operation_is_never_read(store: Store) -> None:
    """Reads beside an operation that fails in the end see nothing of it."""
    await store.transact("write", notes.write("a", "old"))
    seen: set[str | None] = set()

    async def look() -> None:
        while not failing.done():
            seen.add(await store.read(notes.read("a")))
            await asyncio.sleep(0)

    failing = asyncio.ensure_future(
        store.transact("fail", notes.fail_after_writing("a", "new", ValueError()), bulk=True)
    )
    await look()
    with pytest.raises(ValueError):  # noqa: PT011 - the operation's own
        await failing
    assert seen <= {"old"}
    assert await store.read(notes.read("a")) == "old"


async def test_reads_go_on_while_a_bulk_operation_runs(durable_store_url: str) -> None:
    """In a file and in PostgreSQL a read waits for no writer."""
    store = open_store(durable_store_url, policy=PATIENT)
    await store.open()
    written, go_on = threading.Event(), threading.Event()

    def operation(state: State) -> None:
        set_meta(state.db, "a", "new")
        written.set()
        assert go_on.wait(60)

    under_way = asyncio.ensure_future(store.transact("slow", operation, bulk=True))
    try:
        assert await asyncio.to_thread(written.wait, 20)
        async with asyncio.timeout(60):
            assert await store.read(notes.read("a")) is None
            assert await store.read(notes.read("a"), bulk=True) is None
    finally:
        go_on.set()
        await under_way
        await store.close()


async def test_long_read_is_warned_of_and_answered(store_url: str) -> None:
    """A read has nothing to roll back: a long one is named in the log, also where operations are refused."""
    store = open_store(store_url, policy=HoldPolicy(max_hold_ms=0, max_hold_panic=True))
    await store.open()
    with capture_logs() as logs:
        assert await store.read(notes.read("a")) is None
        assert await store.read(notes.read("a"), bulk=True) is None
    assert [line["op"] for line in logs] == ["read"]
    await store.close()


async def test_reads_in_a_row_let_others_run(store: Store) -> None:
    """A caller that does nothing but read does not keep the event loop for itself."""
    others_ran = asyncio.Event()
    asyncio.get_running_loop().call_soon(others_ran.set)
    for _ in range(1_000):
        await store.read(notes.read("a"))
    assert others_ran.is_set()
