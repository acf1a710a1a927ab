"""The server's own secrets: made once, private, rotated, and refused when they cannot be read."""

import stat
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from app.bootstrap import private_files
from app.bootstrap.errors import StartFailed
from app.bootstrap.keyring import RING_LENGTH, given_root_key, make_root_key, open_keyring, rotate_signing
from app.config import load


def test_keys_are_made_once_even_by_many_at_once(tmp_path: Path) -> None:
    """Whoever opens the ring gets the same one, and its file is private and whole."""
    path = tmp_path / "keys.json"
    with ThreadPoolExecutor(16) as threads:
        rings = list(threads.map(lambda _: open_keyring(path), range(64)))

    assert len({(ring.signing, ring.digests, ring.http) for ring in rings}) == 1
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert [file.name for file in tmp_path.iterdir()] == ["keys.json"]


def test_rotation_puts_a_new_key_first_and_keeps_the_others_for_a_while(tmp_path: Path) -> None:
    """The digests' key stays, or every handle and API key would be void."""
    path = tmp_path / "keys.json"
    first = open_keyring(path)
    rings = [rotate_signing(path) for _ in range(RING_LENGTH)]

    assert rings[0].signing[1:] == first.signing
    assert len(rings[-1].signing) == RING_LENGTH
    assert first.signing[0] not in rings[-1].signing
    assert open_keyring(path) == rings[-1]
    assert {ring.digests for ring in rings} == {first.digests}


@pytest.mark.parametrize("content", ["", "{}", '{"signing": [], "digests": "", "http": ""}', "not json"])
def test_a_damaged_file_is_not_replaced(tmp_path: Path, content: str) -> None:
    """New keys in its place would void every credential without a word."""
    path = tmp_path / "keys.json"
    path.write_text(content)

    with pytest.raises(StartFailed, match="Restore it from a backup"):
        open_keyring(path)
    assert path.read_text() == content


def test_secrets_are_in_no_representation(tmp_path: Path) -> None:
    """An accidental repr reveals nothing."""
    settings = load(environ={"SWARMHOLD_DATA_DIR": str(tmp_path)}).settings
    root = make_root_key(settings)

    assert given_root_key(settings) == root
    assert root.text not in repr(root)
    assert "secret" not in repr(open_keyring(settings.keys_path).signing[0]).lower()


def test_a_root_key_file_must_hold_one(tmp_path: Path) -> None:
    """An empty or foreign file is reported, never overwritten."""
    settings = load(environ={"SWARMHOLD_DATA_DIR": str(tmp_path)}).settings
    settings.root_key_path.write_text("password\n")

    with pytest.raises(StartFailed, match="holds no root key"):
        given_root_key(settings)


def test_a_file_is_replaced_in_one_step(tmp_path: Path) -> None:
    """What was there is there until the new one is whole; a new one never replaces by `create_once`."""
    path = tmp_path / "file"
    assert private_files.create_once(path, b"one")
    assert not private_files.create_once(path, b"two")
    assert path.read_bytes() == b"one"
    private_files.replace(path, b"three")
    assert (path.read_bytes(), len(list(tmp_path.iterdir()))) == (b"three", 1)


def test_a_directory_that_cannot_be_made_is_told(tmp_path: Path) -> None:
    """A file in its place is no directory."""
    (tmp_path / "file").write_text("")
    with pytest.raises(StartFailed, match="is a file"):
        private_files.make_directory(tmp_path / "file")
