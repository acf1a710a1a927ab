"""Files that only their owner can read: made anew, and adopted from nobody else."""

import os
import stat
from pathlib import Path

import pytest

from app.bootstrap import private_files
from app.bootstrap.errors import StartFailed
from app.config import Settings, load
from app.domain.errors import StoreUnavailable
from app.state import private_file
from app.state.sqlite.files import FileLock

OTHER = 12345
AS_ROOT = pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files to another user")
NAMES = ("", "root.key", "keys.json", "swarmhold.db", "swarmhold.db-wal", "swarmhold.db-shm", "swarmhold.db.lock")


def _settings(data_dir: Path, **variables: str) -> Settings:
    return load(environ={"SWARMHOLD_DATA_DIR": str(data_dir), **variables}).settings


@pytest.fixture
def full_dir(data_dir: Path) -> Path:
    """A data directory with every file of a server, all private."""
    for name in NAMES[1:]:
        os.close(private_file.create(data_dir / name))
    return data_dir


def test_a_private_directory_is_opened(full_dir: Path) -> None:
    """What nobody else can change is adopted, and so is a directory that others may read."""
    private_files.open_data_directory(_settings(full_dir))
    full_dir.chmod(0o755)
    private_files.open_data_directory(_settings(full_dir))


@AS_ROOT
@pytest.mark.parametrize("name", NAMES)
def test_what_another_user_owns_is_refused(full_dir: Path, name: str) -> None:
    """The server would trust keys and rows that somebody else wrote."""
    os.chown(full_dir / name, OTHER, -1)
    with pytest.raises(StartFailed, match=f"{full_dir / name} belongs to user {OTHER}"):
        private_files.open_data_directory(_settings(full_dir))


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("mode", [stat.S_IWGRP, stat.S_IWOTH, stat.S_IWOTH | stat.S_ISVTX])
def test_what_others_may_write_is_refused(full_dir: Path, name: str, mode: int) -> None:
    """Group or others: either could have changed it, and a sticky directory still takes new files."""
    path = full_dir / name
    path.chmod(path.stat().st_mode | mode)
    with pytest.raises(StartFailed, match=f"{path} can be written by other users .*chmod go-w"):
        private_files.open_data_directory(_settings(full_dir))


@AS_ROOT
def test_a_mounted_key_may_be_anybodys_but_not_writable_by_all(data_dir: Path, tmp_path: Path) -> None:
    """A secret that a container mounts belongs to another user; what others can change is refused there as well."""
    mounted = tmp_path / "secret"
    mounted.touch(mode=0o444)
    os.chown(mounted, OTHER, -1)
    settings = _settings(data_dir, SWARMHOLD_ROOT_KEY_FILE=str(mounted))
    private_files.open_data_directory(settings)

    mounted.chmod(0o446)
    with pytest.raises(StartFailed, match=str(mounted)):
        private_files.open_data_directory(settings)


def test_a_new_file_is_private_and_replaces_nothing(tmp_path: Path) -> None:
    """A file that exists and a link that leads nowhere are refused alike, whatever the umask."""
    before = os.umask(0)
    try:
        os.close(private_file.create(tmp_path / "new"))
    finally:
        os.umask(before)
    (tmp_path / "link").symlink_to(tmp_path / "elsewhere")

    assert stat.S_IMODE((tmp_path / "new").stat().st_mode) == 0o600
    for name in ("new", "link"):
        with pytest.raises(FileExistsError):
            private_file.create(tmp_path / name)
    assert not (tmp_path / "elsewhere").exists()


def test_a_planted_link_at_the_lock_is_not_followed(tmp_path: Path) -> None:
    """The lock beside the database is emptied when it is taken: what a link leads to must not be."""
    precious = tmp_path / "precious"
    precious.write_text("content")
    (tmp_path / "x.lock").symlink_to(precious)

    with pytest.raises(StoreUnavailable, match="lock file"):
        FileLock(tmp_path / "x.lock").acquire()
    assert precious.read_text() == "content"


def test_only_sqlite_has_files(tmp_path: Path) -> None:
    """The files that a start checks follow from the database's URL."""

    def files(url: str) -> list[str]:
        return [str(path) for path in _settings(tmp_path, SWARMHOLD_DATABASE_URL=url).database_files]

    assert files("sqlite:///a.db") == ["a.db", "a.db-wal", "a.db-shm", "a.db.lock"]
    assert files("sqlite:////b.db")[0] == "/b.db"
    assert files("c.db")[0] == "c.db"
    assert files("sqlite:///:memory:") == files("postgresql://h/d") == []
