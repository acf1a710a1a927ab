"""Private directories and files: made for their owner alone, whole or not at all."""

from __future__ import annotations

import os
import secrets
from contextlib import suppress
from pathlib import Path

from app.bootstrap.failures import StartFailed

DIRECTORY_MODE = 0o700
FILE_MODE = 0o600


def make_directory(path: Path) -> None:
    """Make a directory that only its owner can enter; one that exists is left as it is. Raises StartFailed."""
    try:
        path.mkdir(mode=DIRECTORY_MODE, parents=True, exist_ok=True)
    except FileExistsError as error:
        raise StartFailed(f"The data directory {path} is a file. Name another one with --data-dir.") from error
    except OSError as error:
        raise StartFailed(
            f"The data directory {path} cannot be made: {error.strerror}. Make it, or name another with --data-dir."
        ) from error
    if not os.access(path, os.W_OK | os.X_OK):
        raise StartFailed(f"The data directory {path} cannot be written. Give it to this user, or name another.")


def create_once(path: Path, content: bytes) -> bool:
    """Write a new private file that is never seen half-written; False when it was there first. Raises StartFailed."""
    return _write(path, content, replace=False)


def replace(path: Path, content: bytes) -> None:
    """Put new content in the place of a private file, in one step. Raises StartFailed."""
    _write(path, content, replace=True)


def _write(path: Path, content: bytes, *, replace: bool) -> bool:
    partial = path.with_name(f".{path.name}.{secrets.token_hex(6)}")
    try:
        descriptor = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, FILE_MODE)
        try:
            os.write(descriptor, content)
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
        if replace:
            partial.replace(path)
        else:
            os.link(partial, path)  # unlike a rename, this fails when the name is taken
        _sync_directory(path.parent)
    except FileExistsError:
        return False
    except OSError as error:
        raise StartFailed(f"{path} cannot be written: {error.strerror}. Mend its directory and start again.") from error
    finally:
        with suppress(FileNotFoundError):
            partial.unlink()
    return True


def read(path: Path) -> bytes | None:
    """The content of a file; None when there is none. Raises StartFailed."""
    try:
        return path.read_bytes()
    except FileNotFoundError:
        return None
    except OSError as error:
        raise StartFailed(f"{path} cannot be read: {error.strerror}. Give it to this user and start again.") from error


def _sync_directory(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
