"""What can be done to a database file as a whole, beside a server that is using it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import apsw

from app.domain.errors import StoreUnavailable
from app.state.sqlite.connection import UNUSABLE, unavailable


def integrity(path: Path, *, thorough: bool = False) -> tuple[str, ...]:
    """What SQLite finds wrong with a database file, nothing when it is sound. Works beside a running server.

    `thorough` also compares every index with its table. Raises StoreUnavailable when the file cannot be read.
    """
    pragma = "integrity_check" if thorough else "quick_check"
    try:
        raw: Any = apsw.Connection(str(path), flags=apsw.SQLITE_OPEN_READWRITE)
        try:
            raw.set_busy_timeout(1_000)
            found = [str(row[0]) for row in raw.execute(f"PRAGMA {pragma}")]
        finally:
            raw.close(True)
    except UNUSABLE as error:
        raise unavailable(error) from error
    return tuple(line for line in found if line != "ok")


def copy_database(source: str, target: Path) -> None:
    """Copy a database that may be in use to a new file, by SQLite's online backup, in one snapshot.

    The copy appears under its name only when it is whole. Raises StoreUnavailable.
    """
    if target.exists():
        raise StoreUnavailable(f"{target} exists already; name a new file for the backup")
    partial = target.with_name(f"{target.name}.partial")
    try:
        partial.unlink(missing_ok=True)
        partial.touch(mode=0o600)
        _copy(source, partial)
        partial.rename(target)
    except apsw.Error as error:
        raise StoreUnavailable(f"the backup to {target} failed: {error}") from error
    except OSError as error:
        raise StoreUnavailable(f"the backup to {target} failed: {error.strerror}") from error
    finally:
        partial.unlink(missing_ok=True)


def _copy(source: str, target: Path) -> None:
    origin: Any = apsw.Connection(source, flags=apsw.SQLITE_OPEN_READWRITE)
    copy: Any = apsw.Connection(str(target))
    try:
        origin.set_busy_timeout(1_000)
        with copy.backup("main", origin, "main") as backup:
            # All pages in one step: a copy in several would begin anew at every commit in between.
            backup.step(-1)
        # A single file, without a log beside it.
        copy.pragma("journal_mode", "DELETE")
    finally:
        copy.close(True)
        origin.close(True)
