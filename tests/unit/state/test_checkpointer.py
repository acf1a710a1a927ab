"""The write-ahead log is kept short beside the writer."""

import asyncio
import itertools
import os
from collections.abc import AsyncIterator
from pathlib import Path

import apsw
import pytest
from structlog.testing import capture_logs

from app.state.sqlite import checkpointer
from app.state.sqlite.connection import SqliteReader
from app.state.sqlite.files import integrity
from app.state.sqlite.store import SqliteStore
from tests.support import notes
from tests.support.faulty_disk import faulty_disk
from tests.support.waiting import eventually

LARGE = 200_000
_texts = itertools.count()


@pytest.fixture(autouse=True)
def short(monkeypatch: pytest.MonkeyPatch) -> None:
    """A log is long sooner."""
    monkeypatch.setattr(checkpointer, "CHECKPOINT_BYTES", 8 * LARGE)
    monkeypatch.setattr(checkpointer, "RETRY_BYTES", 2 * LARGE)


@pytest.fixture
async def store(data_dir: Path) -> AsyncIterator[SqliteStore]:
    """A store in a file."""
    opened = SqliteStore(data_dir / "swarmhold.db")
    await opened.open()
    yield opened
    await opened.close()
    assert integrity(Path(opened.path), thorough=True) == ()


async def write(store: SqliteStore, count: int = 1) -> None:
    """So many commits of some `LARGE` bytes each. What does not differ is not written."""
    for number in range(count):
        await store.transact("write", notes.write(f"n{number}", f"{next(_texts):08}" * (LARGE // 8)))


def begun_anew(store: SqliteStore) -> int:
    """How often the log was begun anew: a number in its header that grows (SQLite's file format, section 4.1)."""
    with Path(f"{store.path}-wal").open("rb") as log:
        return int.from_bytes(log.read(16)[12:], "big")


async def test_the_log_stays_short_under_load(store: SqliteStore) -> None:
    """However much is written, the log is begun anew again and again."""
    async with asyncio.TaskGroup() as group:
        for _ in range(4):
            group.create_task(write(store, 100))
    assert begun_anew(store) >= 3
    assert await asyncio.to_thread(os.path.getsize, f"{store.path}-wal") < 400 * LARGE / 4


async def test_a_reader_holds_the_log_for_as_long_as_it_reads(store: SqliteStore) -> None:
    """The log grows under an old snapshot, which stays what it was, and is begun anew after it."""
    await write(store)
    reader = SqliteReader.open(store.path)
    reader.begin()
    seen = reader.query("SELECT count(*) FROM events", ())
    before = begun_anew(store)
    await write(store, 40)
    assert begun_anew(store) == before
    assert reader.query("SELECT count(*) FROM events", ()) == seen
    reader.end()
    reader.close()

    async def again() -> bool:
        await write(store)
        return begun_anew(store) > before

    await eventually(again)


async def test_a_log_without_end_is_copied_by_the_writer(data_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Past a length, commits wait for it: no other connection is needed."""

    def no_other(path: str) -> object:
        raise apsw.CantOpenError(path)

    monkeypatch.setattr(checkpointer, "MAX_BYTES", 0)
    monkeypatch.setattr("app.state.sqlite.store.open_raw", no_other)
    store = SqliteStore(data_dir / "swarmhold.db")
    await store.open()
    await write(store)
    before = begun_anew(store)
    await write(store, 30)
    assert begun_anew(store) > before
    await store.close()


async def test_a_log_that_cannot_be_copied_loses_nothing(data_dir: Path) -> None:
    """Callers are not affected, a warning says why, and once the disk works the log is short again."""
    with faulty_disk() as disk, capture_logs() as logs:
        store = SqliteStore(data_dir / "swarmhold.db")
        await store.open()
        await write(store)
        before = begun_anew(store)
        disk.fail(0, apsw.FullError, suffix=".db")
        await write(store, 20)
        await eventually(lambda: disk.failures)
        assert begun_anew(store) == before
        disk.heal()

        async def again() -> bool:
            await write(store)
            return begun_anew(store) > before

        await eventually(again)
        assert len(await store.read(notes.read("n19")) or "") == LARGE
        await store.close()
    assert "database_log_not_copied" in {entry["event"] for entry in logs}
    assert integrity(data_dir / "swarmhold.db", thorough=True) == ()
