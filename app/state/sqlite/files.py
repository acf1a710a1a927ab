"""Operations on a database file as a whole: the lock of its one server, integrity checks, online backups."""

from __future__ import annotations

import fcntl
import os
from pathlib import Path
from typing import Any

import apsw

from app.domain.clock import Instant
from app.domain.errors import StoreUnavailable
from app.state import feed, private_file
from app.state.health_check import WRITE_INTERVAL_SECONDS, last_checked_at
from app.state.sqlite.connection import UNUSABLE, unavailable
from app.state.statements import Connection

LONG_ABSENCE_MS = 60_000


class FileLock:
    """An exclusive `flock` on a file beside the database: one server per database file.

    The operating system releases it when the process ends, in whatever way. The file itself stays; it contains the
    process id of its last holder, for the error message of a server that is refused.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._descriptor: int | None = None

    def acquire(self) -> None:
        """Take the lock without waiting. Raises StoreUnavailable naming the process that holds it."""
        try:
            flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC
            descriptor = os.open(self.path, flags, private_file.MODE)
        except OSError as error:
            raise StoreUnavailable(f"cannot open the lock file {self.path}: {error.strerror}") from error
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            holder = os.pread(descriptor, 20, 0).decode(errors="replace").strip() or "unknown"
            os.close(descriptor)
            raise StoreUnavailable(
                f"process {holder} is using this database (it holds {self.path}); "
                "stop it, or use another data directory"
            ) from error
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, f"{os.getpid()}\n".encode(), 0)
        self._descriptor = descriptor

    def release(self) -> None:
        """Release the lock. Safe to call twice."""
        descriptor, self._descriptor = self._descriptor, None
        if descriptor is not None:
            os.close(descriptor)


def leap_after_absence(db: Connection, now: Instant) -> None:
    """Leap cursors when no server had this file open for long, since it may be an older copy that was put back.

    Readers may know cursors that were issued after the copy was made. Called in a transaction.
    """
    checked_at = last_checked_at(db)
    if checked_at is not None and now - checked_at > LONG_ABSENCE_MS:
        absence_s = (now - checked_at) // 1000 + round(WRITE_INTERVAL_SECONDS)
        by = absence_s * feed.EVENTS_PER_S
        db.change("UPDATE sqlite_sequence SET seq = seq + ? WHERE name = 'events'", (by,))


def leap_cursors(path: Path, age_s: float) -> None:
    """Let cursors go on above all that were issued since a copy of the database was made, `age_s` seconds ago.

    Nobody else may have the file open. Raises StoreUnavailable.
    """
    since = round((age_s + feed.RESTORE_MARGIN_S) * feed.EVENTS_PER_S)
    try:
        raw: Any = apsw.Connection(str(path), flags=apsw.SQLITE_OPEN_READWRITE)
        try:
            found = raw.execute("SELECT max(seq) FROM sqlite_sequence WHERE name = 'events'").fetchall()[0][0]
            with raw:
                raw.execute("DELETE FROM sqlite_sequence WHERE name = 'events'")
                raw.execute("INSERT INTO sqlite_sequence (name, seq) VALUES ('events', ?)", ((found or 0) + since,))
        finally:
            raw.close()
    except apsw.Error as error:
        raise unavailable(error) from error


def integrity(path: Path, *, thorough: bool = False) -> tuple[str, ...]:
    """Return the defects that SQLite finds in a database file; none when it is sound. Works beside a running server.

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
    """Copy one snapshot of a database that may be in use to a new file, by SQLite's online backup.

    The copy appears under its name only when it is complete. Raises StoreUnavailable.
    """
    if target.exists():
        raise StoreUnavailable(f"{target} already exists; name a new file for the backup")
    partial = target.with_name(f"{target.name}.partial")
    try:
        partial.unlink(missing_ok=True)
        os.close(private_file.create(partial))
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
            # All pages in one step: a copy in several steps would restart at every commit in between.
            backup.step(-1)
        # Leave a single file, without a write-ahead log.
        copy.pragma("journal_mode", "DELETE")
    finally:
        copy.close(True)
        origin.close(True)
