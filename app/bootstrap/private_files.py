"""Directories and files that only their owner can read, written atomically."""

from __future__ import annotations

import os
import secrets
from contextlib import suppress
from pathlib import Path

from app.bootstrap.errors import StartFailed

DIRECTORY_MODE = 0o700
FILE_MODE = 0o600


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


def create_once(path: Path, content: bytes) -> bool:
    """Write a new private file atomically. Return False, and leave the file alone, if it exists. Raises StartFailed."""
    return _write(path, content, replace=False)


def replace(path: Path, content: bytes) -> None:
    """Replace the content of a private file atomically. Raises StartFailed."""
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
