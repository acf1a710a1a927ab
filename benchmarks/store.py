"""The store alone: operations of one select and two writes, compared with the database driver on equal statements.

The driver commits 64 operations at a time, without savepoints, results or concurrent callers. Both write to a file
with `synchronous=FULL`. `python -m benchmarks.store postgresql://…` also measures a PostgreSQL database.
"""

from __future__ import annotations

import asyncio
import gc
import itertools
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from statistics import median

import apsw
import sqlalchemy as sa

from app.domain.namespaces import DEFAULT_ID
from app.state import schema
from app.state.opening import open_store
from app.state.port import Store
from app.state.sqlite.store import SqliteStore
from app.state.state import State
from app.state.statements import Statement
from benchmarks.load import run_async
from benchmarks.report import Row

ROUNDS = 12
SECONDS = 0.5
PER_COMMIT = 64
ROWS = 1_000
TEXT = "x" * 50

_R = schema.resources.c
_ROW = sa.and_(_R.namespace == sa.literal_column(str(DEFAULT_ID)), _R.key == sa.bindparam("name"))
_SELECT = Statement(sa.select(_R.value, _R.updated_at).where(_ROW))
_UPDATE = Statement(
    sa.update(schema.resources).where(_ROW).values(value=sa.bindparam("text"), updated_at=sa.bindparam("at"))
)
_INSERT = Statement(sa.insert(schema.idempotency))


def operation(number: int) -> Callable[[State], int]:
    """Return operation number `number`."""

    def run(state: State) -> int:
        name = f"k{number % ROWS}"
        _SELECT.query(state.db, name=name)
        _UPDATE.change(state.db, name=name, text=TEXT, at=number)
        _INSERT.change(
            state.db, scope="s", key=f"{number}", fingerprint=TEXT, result="{}", created_at=state.now, task_id=None
        )
        return number

    return run


def seed(state: State) -> None:
    """Insert the rows that the operations use."""
    insert = Statement(sa.insert(schema.resources))
    for number in range(ROWS):
        insert.change(state.db, namespace=DEFAULT_ID, key=f"k{number}", value=TEXT, updated_at=0)


async def rate_of_store(store: Store, callers: int, numbers: Iterator[int]) -> float:
    """Return operations per second with this many concurrent callers, each waiting for its result."""
    done = 0
    stop_at = time.perf_counter() + SECONDS

    async def call() -> None:
        nonlocal done
        while time.perf_counter() < stop_at:
            await store.transact("benchmark", operation(next(numbers)))
            done += 1

    started = time.perf_counter()
    await asyncio.gather(*(call() for _ in range(callers)))
    return done / (time.perf_counter() - started)


def rate_of_driver(raw: apsw.Connection, per_commit: int, numbers: Iterator[int]) -> float:
    """Return operations per second with the driver alone."""
    select, update, insert = (statement.compiled("sqlite").sql for statement in (_SELECT, _UPDATE, _INSERT))
    execute, done = raw.cursor().execute, 0
    started = time.perf_counter()
    while time.perf_counter() < started + SECONDS:
        execute("BEGIN IMMEDIATE")
        for number in itertools.islice(numbers, per_commit):
            name = f"k{number % ROWS}"
            execute(select, (name,)).fetchall()
            execute(update, (TEXT, number, name))
            execute(insert, ("s", f"{number}", TEXT, "{}", number, None))
        execute("COMMIT")
        done += per_commit
    return done / (time.perf_counter() - started)


@contextmanager
def server_like() -> Iterator[None]:
    """Configure the interpreter like the server: existing objects frozen, a short thread switch interval."""
    interval = sys.getswitchinterval()
    sys.setswitchinterval(0.0005)
    gc.collect()
    gc.freeze()
    try:
        yield
    finally:
        gc.unfreeze()
        sys.setswitchinterval(interval)


async def measure_sqlite() -> list[Row]:
    """Measure driver and store in alternating rounds, each on its own file, which grow equally."""
    numbers = itertools.count()
    driver: list[float] = []
    stores: dict[int, list[float]] = {1: [], 16: [], 256: []}
    with tempfile.TemporaryDirectory(prefix="swarmhold-bench-") as directory:
        store = SqliteStore(f"{directory}/store.db")
        baseline = SqliteStore(f"{directory}/driver.db")
        for one in (store, baseline):
            await one.open()
            await one.transact("seed", seed, bulk=True)
        await baseline.close()
        raw = apsw.Connection(baseline.path)
        for pragma, value in (("synchronous", "FULL"), ("cache_size", -65_536)):
            raw.pragma(pragma, value)
        with server_like():
            for _ in range(ROUNDS):
                driver.append(rate_of_driver(raw, PER_COMMIT, numbers))
                for callers, rates in stores.items():
                    rates.append(await rate_of_store(store, callers, numbers))
        raw.close()
        await store.close()
    bare = median(driver)
    ratio = median(rate / base for rate, base in zip(stores[256], driver, strict=True))
    return [
        _row("store on SQLite", 256, stores, f"bare driver {bare:,.0f}/s", f"≥ 0.8 of the driver: {ratio:.2f}"),
        _row("store on SQLite", 16, stores, "", "≥ 25,000/s"),
        _row("store on SQLite", 1, stores, "", ""),
    ]


async def measure_postgres(url: str) -> list[Row]:
    """Measure the operations on PostgreSQL."""
    store = open_store(url)
    await store.open()
    numbers = itertools.count(time.time_ns())
    await store.transact("clear", lambda state: state.db.change("DELETE FROM resources", ()), bulk=True)
    await store.transact("seed", seed, bulk=True)
    rates: dict[int, list[float]] = {1: [], 16: [], 256: []}
    with server_like():
        for _ in range(ROUNDS):
            for callers, found in rates.items():
                found.append(await rate_of_store(store, callers, numbers))
    await store.close()
    return [_row("store on PostgreSQL", callers, rates, "", "") for callers in rates]


def _row(what: str, callers: int, rates: dict[int, list[float]], beside: str, goal: str) -> Row:
    who = "1 caller" if callers == 1 else f"{callers} callers"
    return Row(f"{what}: 1 select + 2 writes, {who}", f"{median(rates[callers]):,.0f}/s", beside, goal)


async def measure() -> list[Row]:
    """Measure SQLite, and PostgreSQL if a URL is given."""
    rows = await measure_sqlite()
    for url in sys.argv[1:]:
        if "://" in url:
            rows += await measure_postgres(url)
    return rows


def main() -> list[Row]:
    """Run the benchmark."""
    return run_async(measure)


if __name__ == "__main__":
    from benchmarks.report import table

    sys.stdout.write(table(main()) + "\n")
