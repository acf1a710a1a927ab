import asyncio
import contextlib
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import apsw
import pytest
from structlog.testing import capture_logs

from app.domain.errors import StoreUnavailable
from app.state.sqlite.files import integrity
from app.state.sqlite.store import SqliteStore
from tests.contract.conftest import PATIENT
from tests.support import notes
from tests.support.faulty_disk import FaultyDisk, faulty_disk

LARGE = "x" * 10_000


@pytest.fixture
def disk() -> Iterator[FaultyDisk]:
    """A disk that can fail."""
    with faulty_disk() as made:
        yield made


async def opened(path: Path) -> SqliteStore:
    """An open store."""
    store = SqliteStore(path, policy=PATIENT)
    await store.open()
    return store


@pytest.mark.parametrize("error", [apsw.IOError, apsw.FullError])
@pytest.mark.parametrize("passing", range(7))
@pytest.mark.parametrize("bulk", [False, True])
async def test_failed_commit_keeps_nothing(
    disk: FaultyDisk, data_dir: Path, error: type[apsw.Error], passing: int, bulk: bool
) -> None:
    """Whichever write fails, every caller of the batch gets the error, nothing is stored, and the store recovers."""
    store = await opened(data_dir / "swarmhold.db")
    await store.transact("write", notes.write("a", "old"))
    disk.fail(passing, error)
    calls = (store.transact("write", notes.write(name, LARGE), bulk=bulk) for name in "abc")
    outcomes = await asyncio.gather(*calls, return_exceptions=True)
    failed = [isinstance(outcome, StoreUnavailable) for outcome in outcomes]
    assert failed[-1]
    with pytest.raises(StoreUnavailable):
        await store.check()
    disk.heal()
    for name, lost in zip("abc", failed, strict=True):
        before = "old" if name == "a" else None
        assert await store.read(notes.read(name)) == (before if lost else LARGE)
    await store.check()
    await store.transact("write", notes.write("a", "new"))
    await store.close()
    assert integrity(data_dir / "swarmhold.db", thorough=True) == ()


async def test_reason_is_told(disk: FaultyDisk, data_dir: Path) -> None:
    """A full disk is named in the error of every caller and, once, in the log."""
    store = await opened(data_dir / "swarmhold.db")
    with capture_logs() as logs:
        disk.fail(0, apsw.FullError)
        for _ in range(3):
            with pytest.raises(StoreUnavailable, match="the disk is full"):
                await store.transact("write", notes.write("a", "1"))
        disk.heal()
        for _ in range(3):
            await store.transact("write", notes.write("a", "1"))
    told = [log for log in logs if log["event"] != "database_connection_given_up"]
    assert [(log["event"], log.get("reason")) for log in told] == [
        ("database_fails", "the disk is full"),
        ("database_works_again", None),
    ]
    await store.close()


async def test_commit_that_could_not_be_synced_stays_dead(disk: FaultyDisk, data_dir: Path) -> None:
    """What was refused because of a failed fsync does not come back to life by a crash right after it."""
    store = await opened(data_dir / "swarmhold.db")
    await store.transact("write", notes.write("a", "old"))
    # The one fsync of the commit fails, what tidies up after it succeeds.
    disk.fail(0, apsw.IOError, syncs_only=True, times=1)
    with pytest.raises(StoreUnavailable):
        await store.transact("write", notes.write("a", "refused"))
    crashed = data_dir / "crashed"
    shutil.copytree(data_dir, crashed)
    await store.close()
    after = await opened(crashed / "swarmhold.db")
    assert await after.read(notes.read("a")) == "old"
    await after.close()


async def test_neighbours_survive_an_operation_too_large_for_the_cache(disk: FaultyDisk, data_dir: Path) -> None:
    """An operation that spills to a failing disk fails with its batch, and nothing of the batch is kept by halves."""
    store = await opened(data_dir / "swarmhold.db")

    def large(state: object) -> None:
        for number in range(120):
            notes.write(f"large{number}", "x" * 1_000_000)(state)  # pyright: ignore[reportArgumentType]

    before = await store.read(lambda state: state.db.query("SELECT name FROM meta", ()))
    disk.fail(0, apsw.FullError)
    outcomes = await asyncio.gather(
        store.transact("write", notes.write("a", "1")),
        store.transact("large", large),
        store.transact("write", notes.write("b", "1")),
        return_exceptions=True,
    )
    assert all(isinstance(outcome, StoreUnavailable) for outcome in outcomes)
    disk.heal()
    names = await store.read(lambda state: state.db.query("SELECT name FROM meta", ()))
    assert names == before
    await store.check()
    await store.close()


LIMITED = """
import asyncio, resource, sys
from app.domain.errors import StoreUnavailable
from app.state.sqlite.store import SqliteStore
from tests.support import notes

async def main():
    store = SqliteStore(sys.argv[1])
    await store.open()
    await store.transact("write", notes.write("a", "old"))
    resource.setrlimit(resource.RLIMIT_FSIZE, (65536, resource.RLIM_INFINITY))
    calls = [store.transact("write", notes.write(f"n{n}", "x" * 100_000)) for n in range(5)]
    outcomes = await asyncio.gather(*calls, return_exceptions=True)
    assert all(isinstance(outcome, StoreUnavailable) for outcome in outcomes), outcomes
    assert await store.read(notes.read("a")) == "old"
    assert await store.read(notes.read("n0")) is None
    resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    await store.transact("write", notes.write("a", "new"))
    assert await store.read(notes.read("a")) == "new"
    await store.close()

asyncio.run(main())
"""


def test_file_size_limit_is_survived(data_dir: Path) -> None:
    """At the limit of the file's size operations are refused and reads go on; above it again all works."""
    subprocess.run([sys.executable, "-c", LIMITED, str(data_dir / "swarmhold.db")], check=True, timeout=60)


@contextlib.contextmanager
def small_disk(directory: Path) -> Iterator[None]:
    """A file system of 4 MB."""
    made = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=4m", "tmpfs", str(directory)], capture_output=True)
    if made.returncode:
        pytest.skip("no file system can be mounted here")
    try:
        yield
    finally:
        subprocess.run(["umount", str(directory)], check=True)


def fill(path: Path) -> None:
    """Use up what is left of a file system."""
    with path.open("wb", buffering=0) as ballast, contextlib.suppress(OSError):
        while True:
            ballast.write(b"x" * 4096)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can mount a small disk")
async def test_full_disk_is_survived(data_dir: Path) -> None:
    """On a disk that is really full operations are refused with the reason; with room again all works."""
    with small_disk(data_dir):
        store = await opened(data_dir / "swarmhold.db")
        await store.transact("write", notes.write("a", "old"))
        await asyncio.to_thread(fill, data_dir / "ballast")
        with pytest.raises(StoreUnavailable, match="the disk is full"):
            await store.transact("write", notes.write("a", "x" * 500_000))
        assert await store.read(notes.read("a")) == "old"
        await asyncio.to_thread((data_dir / "ballast").unlink)
        await store.transact("write", notes.write("a", "new"))
        assert await store.read(notes.read("a")) == "new"
        await store.close()
