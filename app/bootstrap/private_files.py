"""Directories and files that only their owner can read, written atomically, and adopted only from their owner."""

from __future__ import annotations

import os
import pwd
import secrets
import stat
from contextlib import suppress
from pathlib import Path

from app.bootstrap.errors import StartFailed
from app.config import Settings
from app.state import private_file

DIRECTORY_MODE = 0o700
_WRITABLE = stat.S_IWGRP | stat.S_IWOTH


def make_directory(path: Path) -> None:
    """Create a directory that only its owner can enter; one that exists is left as it is. Raises StartFailed."""
    try:
        path.mkdir(mode=DIRECTORY_MODE, parents=True, exist_ok=True)
    except FileExistsError as error:
        raise StartFailed(f"The data directory {path} is a file. Name another one with --data-dir.") from error
    except OSError as error:
        raise StartFailed(
            f"The data directory {path} cannot be created: {error.strerror}. "
            "Create it, or name another with --data-dir."
        ) from error
    if not os.access(path, os.W_OK | os.X_OK):
        raise StartFailed(f"The data directory {path} is not writable. Make it so, or name another with --data-dir.")


def open_data_directory(settings: Settings) -> None:
    """Create the data directory, or check that nobody else could have put the server's secrets into it.

    Raises StartFailed when another user owns it, a key file or the database in it, or may write them. A key file that
    the settings name may belong to another user: a mounted secret does.
    """
    make_directory(settings.data_dir)
    for path, given in (
        (settings.data_dir, False),
        (settings.root_key_path, settings.root_key_file is not None),
        (settings.keys_path, settings.keys_file is not None),
        *((path, False) for path in settings.database_files),
    ):
        _require_private(path, any_owner=given)


def _require_private(path: Path, *, any_owner: bool) -> None:
    try:
        found = path.stat()
    except FileNotFoundError:
        return
    except OSError as error:
        raise StartFailed(f"{path} cannot be read: {error.strerror}. Make it readable and start again.") from error
    own = os.geteuid()
    if found.st_uid != own and not any_owner:
        raise StartFailed(
            f"{path} belongs to {_user(found.st_uid)}, and this process runs as {_user(own)}: others may have planted "
            f"it. If its content is yours, `chown {own} {path}` and start again; else move it away."
        )
    if found.st_mode & _WRITABLE:
        raise StartFailed(
            f"{path} can be written by other users (mode {stat.S_IMODE(found.st_mode):04o}). If nobody has changed it, "
            f"`chmod go-w {path}` and start again; else move it away."
        )


def _user(uid: int) -> str:
    try:
        return f"user {pwd.getpwuid(uid).pw_name}"
    except KeyError:
        return f"user {uid}"


def create_once(path: Path, content: bytes) -> bool:
    """Write a new private file atomically. Return False, and leave the file alone, if it exists. Raises StartFailed."""
    return _write(path, content, replace=False)


def replace(path: Path, content: bytes) -> None:
    """Replace the content of a private file atomically. Raises StartFailed."""
    _write(path, content, replace=True)


def _write(path: Path, content: bytes, *, replace: bool) -> bool:
    partial = path.with_name(f".{path.name}.{secrets.token_hex(6)}")
    try:
        with os.fdopen(private_file.create(partial), "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        if replace:
            partial.replace(path)
        else:
            os.link(partial, path)  # unlike a rename, this fails when the name is taken
        _sync_directory(path.parent)
    except FileExistsError:
        return False
    except OSError as error:
        raise StartFailed(
            f"{path} cannot be written: {error.strerror}. Check its directory and start again."
        ) from error
    finally:
        with suppress(FileNotFoundError):
            partial.unlink()
    return True


def read(path: Path) -> bytes | None:
    """Return the content of a file, or None if it does not exist. Raises StartFailed."""
    try:
        return path.read_bytes()
    except FileNotFoundError:
        return None
    except OSError as error:
        raise StartFailed(f"{path} cannot be read: {error.strerror}. Make it readable and start again.") from error


def _sync_directory(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
