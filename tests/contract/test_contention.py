import asyncio
import threading
from pathlib import Path

import apsw
import psycopg
import pytest

from app.domain.errors import LockBusy, LockBusyAfterRetry
from app.domain.ids import IdSource
from app.state.policies import HoldPolicy
from app.state.port import Store
from app.state.postgres.connection import CommitUnknown, Contended, PostgresConnection
from app.state.postgres.store import PostgresStore
from app.state.sqlite.store import SqliteStore
from app.state.state import State
from app.state.tables import get_meta, set_meta
from tests.contract.conftest import PATIENT
from tests.support import notes
from tests.support.effects import EffectsLog

LONG = HoldPolicy(max_retry=200, backoff_step_ms=1, max_hold_ms=60_000)
SHORT = HoldPolicy(max_retry=2, backoff_step_ms=1, max_hold_ms=60_000)


async def test_no_update_is_lost(store: Store) -> None:
    """Concurrent counters that lock their row lose no increment, and no two callers get one number."""
    await store.transact("seed", notes.write("count", "0"))
    answers = await asyncio.gather(*(store.transact("add", notes.add_one("count"), policy=LONG) for _ in range(200)))
    assert sorted(answers) == list(range(1, 201))
    assert await store.read(notes.read("count")) == "200"


async def test_operations_that_wait_for_a_connection_are_counted(postgres_url: str) -> None:
    """Those that find all busy, with the time until they had one; none when there are enough."""
    store = PostgresStore(postgres_url, connections=1, policy=PATIENT)
    await store.open()
    await store.transact("alone", notes.write("a", "0"))
    assert store.counts.pool_waits["point"].count == 0
    begun, go_on = threading.Event(), threading.Event()

    def slow(state: State) -> None:
        begun.set()
        assert go_on.wait(60)

    under_way = asyncio.ensure_future(store.transact("slow", slow))
    assert await asyncio.to_thread(begun.wait, 60)
    waiting = [asyncio.ensure_future(store.transact("next", notes.write("a", str(n)))) for n in range(2)]
    await store.read(notes.read("a"), bulk=True)
    go_on.set()
    await asyncio.gather(under_way, *waiting)
    waits = store.counts.pool_waits
    assert waits["point"].count == 2
    assert waits["point"].seconds > 0
    assert waits["bulk"].count == 0
    await store.close()


def test_one_transaction_of_a_process_waits_for_the_row_that_all_want(postgres_url: str) -> None:
    """The others wait for their turn, as long as for a locked row; it ends with the transaction, however that ends."""
    turns = threading.Lock()
    first, second = (PostgresConnection(postgres_url, IdSource(), lock_timeout_ms=30, turns=turns) for _ in range(2))
    for end in (first.commit, first.rollback):
        first.begin()
        first.take_turn()
        first.take_turn()
        set_meta(first, "wanted", "by all")
        for no_wait in (False, True):
            second.begin(no_wait=no_wait)
            with pytest.raises(Contended):
                second.take_turn()
            second.rollback()
        end()
        second.begin()
        second.take_turn()
        assert get_meta(second, "wanted") == "by all"
        second.commit()
    first.begin()
    first.take_turn()
    get_meta(first, "wanted")
    with psycopg.connect(postgres_url, autocommit=True) as other:
        other.execute("SELECT pg_terminate_backend(%s)", (first.query("SELECT pg_backend_pid()", ())[0][0],))
    with pytest.raises(CommitUnknown):
        first.commit()
    second.begin()
    second.take_turn()
    second.rollback()
    first.close()
    second.close()


async def test_deadlocked_operations_are_run_again(store: Store) -> None:
    """Operations that lock two rows in opposite orders all succeed, each of them once."""
    await store.transact("seed", notes.write("a", "0"))
    await store.transact("seed", notes.write("b", "0"))

    def both(first: str, second: str):
        def operation(state: State) -> None:
            notes.add_one(first)(state)
            notes.add_one(second)(state)

        return operation

    orders = [("a", "b"), ("b", "a")] * 2
    await asyncio.gather(*(store.transact("both", both(*order), policy=LONG) for order in orders))
    assert await store.read(notes.read("a")) == "4"
    assert await store.read(notes.read("b")) == "4"


async def test_racing_inserts_of_one_row_have_one_winner(store: Store) -> None:
    """Who inserts a row that somebody else has just inserted runs again and finds it."""

    def claim(number: int):
        def operation(state: State) -> str:
            found = get_meta(state.db, "claim")
            if found is not None:
                return found
            mark = "?" if state.db.dialect == "sqlite" else "%s"
            state.db.change(f"INSERT INTO meta (name, value) VALUES ('claim', {mark})", (str(number),))  # noqa: S608
            return str(number)

        return operation

    answers = await asyncio.gather(*(store.transact("claim", claim(number)) for number in range(40)))
    assert len(set(answers)) == 1


async def test_lasting_violation_is_raised_as_it_is(store: Store) -> None:
    """A real duplicate key is an error of the operation, reported after a bounded number of retries."""
    await store.transact("seed", notes.write("a", "1"))
    runs = 0

    def again(state: State) -> None:
        nonlocal runs
        runs += 1
        state.db.change("INSERT INTO meta (name, value) VALUES ('a', '2')", ())

    with pytest.raises((apsw.ConstraintError, psycopg.errors.UniqueViolation)):
        await store.transact("twice", again)
    assert runs <= 1 + PATIENT.max_retry


async def test_try_only_refuses_a_state_in_use(store: Store) -> None:
    """With `try_only` an operation meets another one's hold with LockBusy instead of waiting."""
    await store.transact("seed", notes.write("a", "0"))
    held, go_on = threading.Event(), threading.Event()

    def hold(state: State) -> None:
        notes.add_one("a")(state)
        held.set()
        assert go_on.wait(60)

    under_way = asyncio.ensure_future(store.transact("hold", hold, bulk=True))
    try:
        assert await asyncio.to_thread(held.wait, 20)
        with pytest.raises(LockBusy):
            await store.transact("add", notes.add_one("a"), policy=HoldPolicy.strict())
    finally:
        go_on.set()
        await under_way
    assert await store.transact("add", notes.add_one("a"), policy=HoldPolicy(try_only=True, max_hold_ms=60_000)) == 2


async def test_cancelled_caller_harms_nobody(store: Store, effects: EffectsLog) -> None:
    """Cancelled callers' operations happen wholly or not at all; all others are answered."""

    def operation(number: int):
        def write(state: State) -> int:
            set_meta(state.db, f"a{number}", "1")
            set_meta(state.db, f"b{number}", "1")
            state.wake(str(number))
            return number

        return write

    calls = [asyncio.ensure_future(store.transact("write", operation(n), bulk=n % 10 == 0)) for n in range(60)]
    await asyncio.sleep(0)
    for call in calls[::2]:
        call.cancel()
    outcomes = await asyncio.gather(*calls, return_exceptions=True)
    assert outcomes[1::2] == list(range(1, 60, 2))
    # Whatever goes on behind cancelled callers is over when a later operation of each kind is.
    await store.close()
    await store.open()
    for number in range(60):
        a, b = [await store.read(notes.read(f"{letter}{number}")) for letter in "ab"]
        assert a == b
        if isinstance(store, SqliteStore) and store.path == ":memory:":
            continue
        assert a == ("1" if str(number) in effects.wakes else None)


async def test_sqlite_waits_for_another_process_without_blocking(data_dir: Path) -> None:
    """A write lock that a backup tool holds delays operations by retries; the loop and reads go on."""
    path = data_dir / "swarmhold.db"
    store = SqliteStore(path, policy=LONG)
    await store.open()
    rival = apsw.Connection(str(path))
    rival.execute("BEGIN IMMEDIATE")
    waiting = [asyncio.ensure_future(store.transact("write", notes.write(f"n{n}", "1"))) for n in range(5)]
    waiting.append(asyncio.ensure_future(store.transact("bulk", notes.write("n5", "1"), bulk=True)))
    with pytest.raises(LockBusyAfterRetry):
        await store.transact("write", notes.write("a", "1"), policy=SHORT)
    assert await store.read(notes.read("n0")) is None
    assert not any(call.done() for call in waiting)
    rival.execute("ROLLBACK")
    async with asyncio.timeout(60):
        await asyncio.gather(*waiting)
    rival.close()
    await store.close()


async def test_sqlite_refuses_when_patience_is_over(data_dir: Path) -> None:
    """Against a lock that stays, `try_only` raises LockBusy, the others LockBusyAfterRetry after their retries."""
    path = data_dir / "swarmhold.db"
    store = SqliteStore(path)
    await store.open()
    rival = apsw.Connection(str(path))
    rival.execute("BEGIN IMMEDIATE")
    outcomes = await asyncio.gather(
        store.transact("strict", notes.write("a", "1"), policy=HoldPolicy.strict()),
        store.transact("short", notes.write("b", "1"), policy=SHORT),
        store.transact("bulk", notes.write("c", "1"), policy=SHORT, bulk=True),
        return_exceptions=True,
    )
    assert [type(outcome) for outcome in outcomes] == [LockBusy, LockBusyAfterRetry, LockBusyAfterRetry]
    assert isinstance(outcomes[1], LockBusyAfterRetry)
    assert (outcomes[1].op, outcomes[1].retries) == ("short", 2)
    rival.execute("ROLLBACK")
    await store.transact("write", notes.write("a", "2"))
    rival.close()
    await store.close()


async def test_postgres_refuses_when_a_row_stays_locked(postgres_url: str) -> None:
    """A row that another session keeps raises LockBusyAfterRetry, and LockBusy at once with `try_only`."""
    store = PostgresStore(postgres_url, lock_timeout_ms=20)
    await store.open()
    await store.transact("seed", notes.write("a", "0"))
    with psycopg.connect(postgres_url) as rival:
        rival.execute("SELECT * FROM meta WHERE name = 'a' FOR UPDATE")
        with pytest.raises(LockBusyAfterRetry) as refusal:
            await store.transact("add", notes.add_one("a"), policy=SHORT)
        assert refusal.value.retries == 2
        with pytest.raises(LockBusy):
            await store.transact("add", notes.add_one("a"), policy=HoldPolicy.strict())
        assert await store.read(notes.read("a")) == "0"
    assert await store.transact("add", notes.add_one("a")) == 1
    await store.close()
