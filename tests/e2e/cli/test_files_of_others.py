"""Files that another user placed: the server does not adopt them, and no command writes a secret into one."""

import os
import stat
import tarfile
from pathlib import Path

import pytest

from app.bootstrap.keyring import open_keyring
from tests.conftest import StartServer
from tests.e2e.cli.conftest import Run

OTHER = 12345
AS_ROOT = pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files to another user")


def _prepare(data_dir: Path, run: Run) -> None:
    """Let the directory hold a database, a key ring and a root key, as a first start leaves it."""
    run("migrate", "--data-dir", data_dir)
    open_keyring(data_dir / "keys.json")
    key = data_dir / "root.key"
    key.touch(mode=0o600)
    key.write_text("shk_" + "1" * 40)


@AS_ROOT
def test_neither_server_nor_command_adopts_a_planted_key(data_dir: Path, run: Run) -> None:
    """One line names the file, its owner and the remedy."""
    key = data_dir / "root.key"
    key.write_text("shk_" + "1" * 40)
    os.chown(key, OTHER, -1)

    for command in (("serve", "--port", "0"), ("keys", "create", "k", "--role", "worker")):
        refusal = run(*command, "--data-dir", data_dir, status=1).stderr
        assert f"{key} belongs to user {OTHER}" in refusal
        assert refusal.count("\n") == 1


def test_a_backup_writes_into_no_file_that_was_there(data_dir: Path, tmp_path: Path, run: Run) -> None:
    """Links and open files under the names that a backup used stay untouched; what it writes is private."""
    _prepare(data_dir, run)
    (tmp_path / "shared").mkdir()
    (tmp_path / "shared").chmod(0o1777)
    stolen, target = tmp_path / "stolen", tmp_path / "shared" / "b.tar"
    partial = tmp_path / "shared" / ".b.tar.partial"
    partial.symlink_to(stolen)
    run("backup", target, "--data-dir", data_dir)

    assert not stolen.exists()
    assert stat.S_IMODE(target.stat().st_mode) == 0o600
    assert target.stat().st_uid == os.geteuid()
    with tarfile.open(target) as archive:
        assert {"root.key", "keys.json", "swarmhold.db", "manifest.json"} == set(archive.getnames())
        assert {(member.mode, member.uid, member.uname) for member in archive} == {(0o600, 0, "")}
    partial.unlink()
    target.rename(partial)
    partial.chmod(0o666)
    run("backup", target, "--data-dir", data_dir)
    assert target.stat().st_ino != partial.stat().st_ino
    assert stat.S_IMODE(target.stat().st_mode) == 0o600


def test_a_backup_follows_no_link_at_its_own_name(data_dir: Path, tmp_path: Path, run: Run) -> None:
    """A dangling link under the name of the new file is refused like a file."""
    _prepare(data_dir, run)
    stolen, target = tmp_path / "stolen", tmp_path / "b.tar"
    target.symlink_to(stolen)

    assert "exists already" in run("backup", target, "--data-dir", data_dir, status=2).stderr
    assert not stolen.exists()
    assert target.is_symlink()


def test_what_a_server_writes_is_private(start_server: StartServer) -> None:
    """Everything in the data directory of a server that was just started is its owner's alone."""
    node = start_server()
    found = {path.name: stat.S_IMODE(path.stat().st_mode) for path in node.data_dir.iterdir()}

    assert {"root.key", "keys.json", "server.json", "swarmhold.db", "swarmhold.db.lock"} <= found.keys()
    assert set(found.values()) == {0o600}
    assert stat.S_IMODE(node.data_dir.stat().st_mode) == 0o700


def test_restoring_leaves_private_files(data_dir: Path, tmp_path: Path, run: Run) -> None:
    """Members of an archive that were readable by all are not when they are in place."""
    _prepare(data_dir, run)
    run("backup", tmp_path / "b.tar", "--data-dir", data_dir)
    with tarfile.open(tmp_path / "b.tar") as archive, tarfile.open(tmp_path / "open.tar", "w") as opened:
        for member in archive:
            member.mode = 0o644
            opened.addfile(member, archive.extractfile(member))
    run("restore", tmp_path / "open.tar", "--data-dir", tmp_path / "new")

    assert {stat.S_IMODE(path.stat().st_mode) for path in (tmp_path / "new").iterdir()} == {0o600}
