"""One SQLite connection: how it is set up, how an operation's statements run on it, and what its errors mean.

The library is the one that apsw brings along, never the system's: SQLite before 3.51.3 can corrupt a database in WAL
mode when a checkpoint and a write meet.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from typing import Any

import apsw

from app.domain.errors import StoreUnavailable
from app.state.statements import Dialect

OLDEST = (3, 51, 3)
MEMORY = ":memory:"

_PRAGMAS = {
    "synchronous": "FULL",
    "cache_size": -65_536,  # KiB
    "temp_store": "MEMORY",
    "foreign_keys": 0,
    # A mapped file that cannot be read ends the process with a signal; a read reports an error.
    "mmap_size": 0,
    # `Checkpointer` does it, beside the writer.
    "wal_autocheckpoint": 0,
    "journal_size_limit": 64 * 1024 * 1024,
    "trusted_schema": 0,
}
_CACHED_STATEMENTS = 400
_EMPTYING_MS = 5_000

UNUSABLE = (
    apsw.FullError,
    apsw.IOError,
    apsw.BusyError,
    apsw.LockedError,
    apsw.CorruptError,
    apsw.NotADBError,
    apsw.CantOpenError,
    apsw.ReadOnlyError,
    apsw.PermissionsError,
    apsw.AuthError,
    apsw.NoMemError,
    apsw.ProtocolError,
    apsw.NoLFSError,
    apsw.InterruptError,
    apsw.ConnectionClosedError,
)
"""Errors that say something about the disk or the file, not about the statement."""


def unavailable(error: apsw.Error) -> StoreUnavailable:
    """What an error of the driver means to whoever asked for the operation."""
    if isinstance(error, apsw.FullError):
        return StoreUnavailable("the disk is full")
    if isinstance(error, apsw.ReadOnlyError):
        return StoreUnavailable("the database file is read-only")
    if isinstance(error, (apsw.CorruptError, apsw.NotADBError)):
        return StoreUnavailable(f"the database file is damaged ({error}); check it with `swarmhold doctor`")
    return StoreUnavailable(f"SQLite: {error}")


def open_raw(path: str) -> Any:
    """A further connection to a database that is there. Raises apsw.Error."""
    raw: Any = apsw.Connection(path, flags=apsw.SQLITE_OPEN_READWRITE, statementcachesize=_CACHED_STATEMENTS)
    _set_up(raw)
    return raw


def _set_up(raw: Any) -> None:
    # Otherwise a join is planned anew for each value that it is run with.
    raw.config(apsw.SQLITE_DBCONFIG_ENABLE_QPSG, 1)
    for name, value in _PRAGMAS.items():
        raw.pragma(name, value)


class SqliteConnection:
    """Runs statements for `State`. One transaction at a time, used by one thread at a time.

    While the transaction is `guarded` each operation that writes has a savepoint, so that it can be undone by itself.
    Without that only the transaction as a whole can be; one that only reads or refuses needs neither, nor does the
    first that writes.
    """

    dialect: Dialect = "sqlite"
    feed_offset = 0

    __slots__ = (
        "_changes",
        "_execute",
        "_fetch",
        "_saved",
        "_tangled",
        "_wrote",
        "dirty",
        "guarded",
        "log_pages",
        "raw",
    )

    def __init__(self, path: str) -> None:
        """Open the file, or a database in memory. Raises apsw.Error."""
        self.raw: Any = apsw.Connection(path, statementcachesize=_CACHED_STATEMENTS)
        cursor = self.raw.cursor()
        self._execute: Callable[..., Any] = cursor.execute
        self._fetch: Callable[[], list[tuple[Any, ...]]] = cursor.fetchall
        self._changes: Callable[[], int] = self.raw.changes
        self.dirty = False
        """Whether the transaction has written."""
        self.guarded = False
        self.log_pages = 0
        """How long the write-ahead log was after the last commit."""
        self._saved = False
        self._tangled = False
        self._wrote = False
        self.raw.set_busy_timeout(0)
        if path != MEMORY and self.raw.pragma("journal_mode", "WAL") != "wal":
            raise StoreUnavailable("the file system of the database cannot hold a write-ahead log; use a local disk")
        _set_up(self.raw)
        self.raw.set_wal_hook(self._log_grew)

    def query(self, sql: str, args: tuple[Any, ...]) -> list[tuple[Any, ...]]:
        """All rows of a statement."""
        if not self._wrote and not sql.startswith("SELECT"):
            self._before_write()
        try:
            self._execute(sql, args)
            return self._fetch()
        except UNUSABLE as error:
            raise unavailable(error) from error

    def change(self, sql: str, args: tuple[Any, ...]) -> int:
        """Run a statement that returns no rows; how many rows it changed."""
        if not self._wrote:
            self._before_write()
        try:
            self._execute(sql, args)
            return self._changes()
        except UNUSABLE as error:
            raise unavailable(error) from error

    def begin(self) -> None:
        """Start a transaction that may write.

        Raises apsw.Error, BusyError when another process writes, and StoreUnavailable when the transaction before
        was ended by SQLite itself with writes in it.
        """
        if self.dirty:
            raise self._ended()
        self._execute("BEGIN IMMEDIATE")

    def commit(self) -> None:
        """End the transaction. Raises apsw.Error and then leaves it open or rolled back: see `rollback`."""
        self._execute("COMMIT")
        self.dirty = False

    def rollback(self) -> None:
        """End the transaction without a trace. Does nothing when there is none. Raises apsw.Error."""
        self.dirty = False
        if self.raw.in_transaction:
            self._execute("ROLLBACK")

    def forget_failed_commit(self) -> None:
        """After a COMMIT that could not be synced: empty the log, lest a crash bring its frames back to life."""
        self.raw.set_busy_timeout(_EMPTYING_MS)  # the log may be copied beside this
        with contextlib.suppress(apsw.Error):
            self.raw.wal_checkpoint(mode=apsw.SQLITE_CHECKPOINT_TRUNCATE)
        self.raw.set_busy_timeout(0)

    def checkpoint(self) -> None:
        """Copy what is committed into the database, so that the log can be begun anew. Raises apsw.Error."""
        self.raw.wal_checkpoint(mode=apsw.SQLITE_CHECKPOINT_PASSIVE)

    def start_operation(self) -> None:
        """Begin the next operation of this transaction."""
        self._wrote = self._saved = self._tangled = False

    def keep_operation(self) -> None:
        """Keep what the operation wrote."""
        if self._saved:
            self._execute("RELEASE operation")
            self._saved = False

    def undo_operation(self) -> bool:
        """Undo what the operation wrote; False when that takes undoing the whole transaction.

        Ends the transaction when only this operation has written in it. Raises apsw.Error, and StoreUnavailable when
        SQLite has ended the transaction itself.
        """
        if self._tangled:
            return False
        if self._saved:
            self._saved = False
            if not self.raw.in_transaction:
                raise self._ended()
            self._execute("ROLLBACK TO operation")
            self._execute("RELEASE operation")
        elif self._wrote:
            self.rollback()
        return True

    def close(self) -> None:
        """Release the file. Safe to call twice."""
        with contextlib.suppress(apsw.Error):
            self.raw.close(True)

    def _log_grew(self, _raw: Any, _name: str, pages: int) -> int:
        self.log_pages = pages
        return apsw.SQLITE_OK

    def _before_write(self) -> None:
        self._wrote = True
        if not self.dirty:
            self.dirty = True
        elif not self.guarded:
            self._tangled = True
        else:
            try:
                self._execute("SAVEPOINT operation")
            except UNUSABLE as error:
                raise unavailable(error) from error
            self._saved = True

    def _ended(self) -> StoreUnavailable:
        return StoreUnavailable("the disk failed in the middle of a transaction")


class SqliteReader:
    """Runs the statements of reads, each read on one snapshot. Used by one thread at a time."""

    dialect: Dialect = "sqlite"
    feed_offset = 0

    __slots__ = ("_execute", "_fetch", "_shared", "raw")

    def __init__(self, raw: Any, *, shared: bool) -> None:
        """`shared` is a connection that others write on between reads."""
        self.raw = raw
        self._shared = shared
        cursor = raw.cursor()
        self._execute: Callable[..., Any] = cursor.execute
        self._fetch: Callable[[], list[tuple[Any, ...]]] = cursor.fetchall

    @classmethod
    def open(cls, path: str) -> SqliteReader:
        """Open a connection of its own that cannot write. Raises apsw.Error."""
        raw = open_raw(path)
        # Readers of a WAL wait for nobody, but for the moment in which a crashed writer's log is recovered.
        raw.set_busy_timeout(100)
        raw.pragma("query_only", 1)
        return cls(raw, shared=False)

    @classmethod
    def beside(cls, db: SqliteConnection) -> SqliteReader:
        """Read on the writer's connection, between its transactions."""
        return cls(db.raw, shared=True)

    def query(self, sql: str, args: tuple[Any, ...]) -> list[tuple[Any, ...]]:
        """All rows of a statement."""
        try:
            self._execute(sql, args)
            return self._fetch()
        except apsw.ReadOnlyError as error:
            raise _refused() from error
        except UNUSABLE as error:
            raise unavailable(error) from error

    def change(self, sql: str, args: tuple[Any, ...]) -> int:
        """Refuse."""
        raise _refused()

    def begin(self) -> None:
        """Start a snapshot: everything that is committed at the first statement."""
        try:
            self._execute("BEGIN")
            if self._shared:
                self.raw.pragma("query_only", 1)
        except UNUSABLE as error:
            raise unavailable(error) from error

    def end(self) -> None:
        """Give the snapshot back."""
        if self._shared:
            self.raw.pragma("query_only", 0)
        if self.raw.in_transaction:
            self._execute("ROLLBACK")

    def close(self) -> None:
        """Release the file. Safe to call twice."""
        with contextlib.suppress(apsw.Error):
            self.raw.close(True)


def _refused() -> TypeError:
    return TypeError("a function given to read() wrote to the state; give it to transact() instead")
