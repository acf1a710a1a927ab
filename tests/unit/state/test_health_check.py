import asyncio
import itertools
from collections.abc import AsyncIterator
from pathlib import Path

import apsw
import pytest

from app.domain.errors import StoreUnavailable
from app.state.health_check import WRITE_INTERVAL_SECONDS, HealthCheck
from app.state.sqlite.store import SqliteStore
from app.state.state import State
from tests.support import notes
from tests.support.faulty_disk import faulty_disk


class ManualClock:
    """A clock that the test sets."""

    def __init__(self) -> None:
        self.at = 0.0

    def __call__(self) -> float:
        return self.at


@pytest.fixture
async def store(data_dir: Path) -> AsyncIterator[SqliteStore]:
    """An open store whose instants are counted."""
    instants = iter(range(1, 1_000_000))
    opened = SqliteStore(data_dir / "swarmhold.db", clock=lambda: next(instants))
    await opened.open()
    yield opened
    await opened.close()


async def written(store: SqliteStore) -> str | None:
    """When the last row of a check was written."""
    return await store.read(notes.read("checked_at"))


async def test_a_write_is_due_now_and_then_and_after_a_doubt(store: SqliteStore) -> None:
    """Between two writes checks only read; a failure elsewhere makes the next one write at once."""
    clock = ManualClock()
    asked = HealthCheck(now=clock)
    await asked.run(store)
    first = await written(store)
    clock.at = WRITE_INTERVAL_SECONDS - 0.1
    await asked.run(store)
    assert await written(store) == first
    clock.at = WRITE_INTERVAL_SECONDS
    await asked.run(store)
    second = await written(store)
    assert second != first
    asked.report_failure()
    await asked.run(store)
    assert await written(store) not in (first, second)


async def test_a_disk_that_fills_up_under_an_idle_server_is_found_by_the_next_write(data_dir: Path) -> None:
    """Without other writes the failure is detected when a write is due, and cleared once the disk works."""
    clock = ManualClock()
    asked = HealthCheck(now=clock)
    with faulty_disk() as disk:
        # Each check writes another instant: what does not differ is not written.
        instants = itertools.count()
        store = SqliteStore(data_dir / "swarmhold.db", clock=lambda: next(instants))
        await store.open()
        await asked.run(store)
        disk.fail(0, apsw.FullError)
        clock.at = WRITE_INTERVAL_SECONDS
        for _ in range(3):
            with pytest.raises(StoreUnavailable, match="the disk is full"):
                await asked.run(store)
        disk.heal()
        await asked.run(store)
        await store.close()


async def test_a_store_that_hangs_is_told_in_time(store: SqliteStore) -> None:
    """A database that does not answer is as good as none."""
    entered, over = asyncio.Event(), asyncio.Event()
    asked, loop = HealthCheck(timeout_seconds=0.05), asyncio.get_running_loop()

    def hang(_: State) -> None:
        loop.call_soon_threadsafe(entered.set)
        asyncio.run_coroutine_threadsafe(over.wait(), loop).result(60)

    hanging = asyncio.ensure_future(store.transact("hang", hang, bulk=True))
    await entered.wait()
    with pytest.raises(StoreUnavailable, match="has not answered"):
        await asked.run(store)
    over.set()
    await hanging
    await HealthCheck().run(store)
