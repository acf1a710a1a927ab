import os
from pathlib import Path

import pytest

from app.domain.errors import StoreUnavailable
from app.state.opening import open_store
from app.state.postgres.store import PostgresStore
from app.state.sqlite.files import FileLock
from app.state.sqlite.store import SqliteStore


@pytest.mark.parametrize(
    ("place", "path"),
    [
        (":memory:", ":memory:"),
        ("sqlite://", ":memory:"),
        ("sqlite:///:memory:", ":memory:"),
        ("sqlite:////tmp/a.db", "/tmp/a.db"),  # noqa: S108 - a name, nothing is written
        ("/tmp/a.db", "/tmp/a.db"),  # noqa: S108
        (Path("/tmp/a.db"), "/tmp/a.db"),  # noqa: S108
        ("sqlite:///a.db", str(Path.cwd() / "a.db")),
    ],
)
def test_sqlite_places(place: str | Path, path: str) -> None:
    """Paths, URLs and memory name a SQLite store."""
    store = open_store(place)
    assert isinstance(store, SqliteStore)
    assert store.path == path


@pytest.mark.parametrize("url", ["postgresql://u@h/d", "postgres://u@h/d"])
def test_postgres_places(url: str) -> None:
    """Both spellings of its URL name a PostgreSQL store."""
    assert isinstance(open_store(url), PostgresStore)


def test_unknown_kind_is_refused() -> None:
    """A URL of something else is refused by name, not taken for a file."""
    with pytest.raises(StoreUnavailable, match="mysql://"):
        open_store("mysql://u@h/d")


def test_lock_names_its_holder_and_ends(tmp_path: Path) -> None:
    """A second holder is refused with the first one's process id until the first lets go."""
    first, second = FileLock(tmp_path / "x.lock"), FileLock(tmp_path / "x.lock")
    first.acquire()
    with pytest.raises(StoreUnavailable, match=f"process {os.getpid()} "):
        second.acquire()
    first.release()
    first.release()
    second.acquire()
    second.release()


def test_lock_that_cannot_be_made_is_refused(tmp_path: Path) -> None:
    """A lock in a directory that does not exist says so."""
    with pytest.raises(StoreUnavailable, match="No such file"):
        FileLock(tmp_path / "missing" / "x.lock").acquire()
