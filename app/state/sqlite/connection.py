"""SQLite connections: their set-up, the execution of an operation's statements, and the meaning of their errors.

The library is the one that apsw includes, never the system's: SQLite before 3.51.3 can corrupt a database in WAL mode
when a checkpoint and a write coincide.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from typing import Any

import apsw

from app.domain.errors import StoreUnavailable
from app.state.statements import Dialect

MIN_VERSION = (3, 51, 3)
MEMORY = ":memory:"

_PRAGMAS = {
    "synchronous": "FULL",
    "cache_size": -65_536,  # KiB
    "temp_store": "MEMORY",
    "foreign_keys": 0,
    # A failing read of a mapped file kills the process with a signal; an ordinary read raises an error.
    "mmap_size": 0,
    # `Checkpointer` does that, beside the writer.
    "wal_autocheckpoint": 0,
    "journal_size_limit": 64 * 1024 * 1024,
    "trusted_schema": 0,
}
_PAGE_BYTES = 1024
"""Of a new database. A commit writes every page that it touched to the log, most of them for one short row each."""
_CACHED_STATEMENTS = 400
_FLAGS = apsw.SQLITE_OPEN_READWRITE | apsw.SQLITE_OPEN_NOMUTEX
"""Each connection is used by one thread at a time, so SQLite need not lock it for every column that is read."""
_EMPTY_LOG_TIMEOUT_MS = 5_000

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
"""Errors of the disk or the file, as opposed to errors of the statement."""


def unavailable(error: apsw.Error) -> StoreUnavailable:
    """Return the domain error for an error of the driver."""
    if isinstance(error, apsw.FullError):
        return StoreUnavailable("the disk is full")
    if isinstance(error, apsw.ReadOnlyError):
        return StoreUnavailable("the database file is read-only")
    if isinstance(error, (apsw.CorruptError, apsw.NotADBError)):
        return StoreUnavailable(f"the database file is damaged ({error}); check it with `swarmhold doctor`")
    return StoreUnavailable(f"SQLite: {error}")


def open_raw(path: str) -> Any:
    """Open another connection to an existing database. Raises apsw.Error."""
    raw: Any = apsw.Connection(path, flags=_FLAGS, statementcachesize=_CACHED_STATEMENTS)
    _set_up(raw)
    return raw


def _set_up(raw: Any) -> None:
    # Keep query plans independent of parameter values; otherwise joins are planned again for each of them.
    raw.config(apsw.SQLITE_DBCONFIG_ENABLE_QPSG, 1)
    for name, value in _PRAGMAS.items():
        raw.pragma(name, value)


class SqliteConnection:
    """Runs statements for `State`. One transaction at a time, used by one thread at a time.

    With `uses_savepoints` each operation that writes after others gets a savepoint and can be undone on its own.
    Otherwise undoing such an operation needs a rollback of the whole transaction. An operation that only reads, or
    writes first, needs neither.
    """

    dialect: Dialect = "sqlite"
    feed_offset = 0

    __slots__ = (
        "_changes",
        "_execute",
        "_fetch",
        "_needs_full_rollback",
        "_page_bytes",
        "_saved",
        "_wrote",
        "dirty",
        "log_bytes",
        "raw",
        "uses_savepoints",
    )

    def __init__(self, path: str) -> None:
        """Open the file, or a database in memory. Raises apsw.Error."""
        flags = _FLAGS | apsw.SQLITE_OPEN_CREATE
        self.raw: Any = apsw.Connection(path, flags=flags, statementcachesize=_CACHED_STATEMENTS)
        cursor = self.raw.cursor()
        self._execute: Callable[..., Any] = cursor.execute
        self._fetch: Callable[[], list[tuple[Any, ...]]] = cursor.fetchall
        self._changes: Callable[[], int] = self.raw.changes
        self.dirty = False
        """Whether the transaction has written."""
        self.uses_savepoints = False
        self.log_bytes = 0
        """Length of the write-ahead log after the last commit: that of its pages."""
        self._saved = False
        self._needs_full_rollback = False
        self._wrote = False
        self.raw.set_busy_timeout(0)
        self.raw.pragma("page_size", _PAGE_BYTES)
        if path != MEMORY and self.raw.pragma("journal_mode", "WAL") != "wal":
            raise StoreUnavailable("the file system of the database cannot hold a write-ahead log; use a local disk")
        _set_up(self.raw)
        self._page_bytes: int = self.raw.pragma("page_size")
        self.raw.set_wal_hook(self._on_log_growth)

    def query(self, sql: str, args: tuple[Any, ...]) -> list[tuple[Any, ...]]:
        """Run a statement and return all its rows."""
        if not self._wrote and not sql.startswith("SELECT"):
            self._before_write()
        try:
            self._execute(sql, args)
            return self._fetch()
        except UNUSABLE as error:
            raise unavailable(error) from error

    @property
    def last_row_id(self) -> int:
        """The id of the row that was inserted last."""
        return self.raw.last_insert_rowid()

    def change(self, sql: str, args: tuple[Any, ...]) -> int:
        """Run a statement that returns no rows, and return how many it changed."""
        if not self._wrote:
            self._before_write()
        try:
            self._execute(sql, args)
            return self._changes()
        except UNUSABLE as error:
            raise unavailable(error) from error

    def take_turn(self) -> None:
        """Do nothing: there is one writer."""

    def text_beginning(self, table: str, column: str, row_id: int, size: int) -> str:
        """Return the first `size` bytes of a text without reading the rest of it."""
        return _text_beginning(self.raw, table, column, row_id, size)

    def begin(self) -> None:
        """Start a transaction that may write.

        Raises apsw.Error (BusyError when another process holds the write lock), and StoreUnavailable when SQLite
        itself ended the previous transaction after it had written.
        """
        if self.dirty:
            raise self._transaction_lost()
        self._execute("BEGIN IMMEDIATE")

    def commit(self) -> None:
        """Commit. Raises apsw.Error and then leaves the transaction open or rolled back: call `rollback`."""
        self._execute("COMMIT")
        self.dirty = False

    def rollback(self) -> None:
        """Roll the transaction back, if there is one. Raises apsw.Error."""
        self.dirty = False
        if self.raw.in_transaction:
            self._execute("ROLLBACK")

    def empty_log(self) -> None:
        """Empty the log after a failed commit: crash recovery could replay the failed frames."""
        self.raw.set_busy_timeout(_EMPTY_LOG_TIMEOUT_MS)  # the checkpointer may be at work
        with contextlib.suppress(apsw.Error):
            self.raw.wal_checkpoint(mode=apsw.SQLITE_CHECKPOINT_TRUNCATE)
        self.raw.set_busy_timeout(0)

    def checkpoint(self) -> None:
        """Copy the committed log into the database, so that the log can start over. Raises apsw.Error."""
        self.raw.wal_checkpoint(mode=apsw.SQLITE_CHECKPOINT_PASSIVE)

    def start_operation(self) -> None:
        """Start the next operation of this transaction."""
        self._wrote = self._saved = self._needs_full_rollback = False

    def keep_operation(self) -> None:
        """Keep what the operation wrote."""
        if self._saved:
            self._execute("RELEASE operation")
            self._saved = False

    def undo_operation(self) -> bool:
        """Undo what the operation wrote; return False when that needs a rollback of the whole transaction.

        Ends the transaction when no other operation has written in it. Raises apsw.Error, and StoreUnavailable when
        SQLite has ended the transaction itself.
        """
        if self._needs_full_rollback:
            return False
        if self._saved:
            self._saved = False
            if not self.raw.in_transaction:
                raise self._transaction_lost()
            self._execute("ROLLBACK TO operation")
            self._execute("RELEASE operation")
        elif self._wrote:
            self.rollback()
        return True

    def close(self) -> None:
        """Close the connection. Safe to call twice."""
        with contextlib.suppress(apsw.Error):
            self.raw.close(True)

    def _on_log_growth(self, _raw: Any, _name: str, pages: int) -> int:
        self.log_bytes = pages * self._page_bytes
        return apsw.SQLITE_OK

    def _before_write(self) -> None:
        self._wrote = True
        if not self.dirty:
            self.dirty = True
        elif not self.uses_savepoints:
            self._needs_full_rollback = True
        else:
            try:
                self._execute("SAVEPOINT operation")
            except UNUSABLE as error:
                raise unavailable(error) from error
            self._saved = True

    def _transaction_lost(self) -> StoreUnavailable:
        return StoreUnavailable("the disk failed in the middle of a transaction")


class SqliteReader:
    """Runs the statements of reads, each on one snapshot. Used by one thread at a time."""

    dialect: Dialect = "sqlite"
    feed_offset = 0
    last_row_id = 0

    __slots__ = ("_execute", "_fetch", "_shared", "raw")

    def __init__(self, raw: Any, *, shared: bool) -> None:
        """Wrap a driver connection; `shared` when it is also used for writing, between the reads."""
        self.raw = raw
        self._shared = shared
        cursor = raw.cursor()
        self._execute: Callable[..., Any] = cursor.execute
        self._fetch: Callable[[], list[tuple[Any, ...]]] = cursor.fetchall

    @classmethod
    def open(cls, path: str) -> SqliteReader:
        """Open a read-only connection. Raises apsw.Error."""
        raw = open_raw(path)
        # WAL readers never wait, except for the recovery of a crashed writer's log.
        raw.set_busy_timeout(100)
        raw.pragma("query_only", 1)
        return cls(raw, shared=False)

    @classmethod
    def sharing(cls, db: SqliteConnection) -> SqliteReader:
        """Return a reader on the writer's connection, for use between its transactions."""
        return cls(db.raw, shared=True)

    def query(self, sql: str, args: tuple[Any, ...]) -> list[tuple[Any, ...]]:
        """Run a statement and return all its rows."""
        try:
            self._execute(sql, args)
            return self._fetch()
        except apsw.ReadOnlyError as error:
            raise _refused() from error
        except UNUSABLE as error:
            raise unavailable(error) from error

    def change(self, sql: str, args: tuple[Any, ...]) -> int:
        """Raise TypeError: a read must not write."""
        raise _refused()

    def take_turn(self) -> None:
        """Do nothing: there is one writer."""

    def text_beginning(self, table: str, column: str, row_id: int, size: int) -> str:
        """Return the first `size` bytes of a text without reading the rest of it."""
        return _text_beginning(self.raw, table, column, row_id, size)

    def begin(self) -> None:
        """Start a snapshot of everything that is committed at the first statement."""
        try:
            self._execute("BEGIN")
            if self._shared:
                self.raw.pragma("query_only", 1)
        except UNUSABLE as error:
            raise unavailable(error) from error

    def end(self) -> None:
        """Release the snapshot."""
        if self._shared:
            self.raw.pragma("query_only", 0)
        if self.raw.in_transaction:
            self._execute("ROLLBACK")

    def close(self) -> None:
        """Close the connection. Safe to call twice."""
        with contextlib.suppress(apsw.Error):
            self.raw.close(True)


def _text_beginning(raw: Any, table: str, column: str, row_id: int, size: int) -> str:
    try:
        with raw.blob_open("main", table, column, row_id, False) as blob:
            return blob.read(size).decode(errors="ignore")
    except UNUSABLE as error:
        raise unavailable(error) from error


def _refused() -> TypeError:
    return TypeError("a function given to read() wrote to the state; give it to transact() instead")
