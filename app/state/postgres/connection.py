"""PostgreSQL connections, driven through psycopg's libpq layer.

Psycopg's cursors cost twice as much per statement as these calls, and its pipeline mode more than it saves on a short
network path; so each statement is prepared once per connection, and its cells are decoded here. Each wait for an answer
costs as much as a small statement, so BEGIN goes out with the first one.
"""

from __future__ import annotations

import os
import re
import threading
from collections.abc import Callable
from functools import cache
from typing import Any

import psycopg
from psycopg import errors, pq
from psycopg.conninfo import make_conninfo

from app.domain.errors import InvalidRequest, StoreUnavailable
from app.domain.ids import IdSource
from app.state.postgres.keepalive import Keepalive
from app.state.statements import Dialect

_SETTINGS = (
    "SET application_name = 'swarmhold'; "
    "SET default_transaction_isolation = 'read committed'; "
    "SET timezone = 'UTC'; "
    # A node that hangs in the middle of a transaction, or dies during a statement, must not keep its rows locked.
    "SET idle_in_transaction_session_timeout = 10000; "
    "SET statement_timeout = 15000"
)
_BEGIN = b"BEGIN"
_BEGIN_NO_WAIT = b"BEGIN; SET LOCAL lock_timeout = 1"
_BEGIN_READING = b"BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY"
_UNBOUNDED = b"; SET LOCAL statement_timeout = 0"

_CONTENDED = {"40001", "40P01", "55P03"}
_DUPLICATE = "23505"
_READ_ONLY = "25006"
_TOO_LONG = "54000"
_LOST = ("08", "57P")
_UNAVAILABLE = ("53", "58", "XX", "57014", _READ_ONLY)
"""Out of resources, a failing disk, a damaged file, cancelled by an administrator, a standby."""

_INTEGERS = {20, 21, 23, 26, 5069}


class Contended(Exception):
    """The transaction lost a conflict with another one and may run again after a rollback.

    `lasting` is what to raise when retrying does not help: a duplicate row may come from the other transaction, or from
    the operation itself.
    """

    def __init__(self, message: str, lasting: Exception | None = None) -> None:
        super().__init__(message)
        self.lasting = lasting


class ConnectionLost(Exception):
    """The connection broke before anything can have been committed."""


class CommitUnknown(Exception):
    """The connection broke while the transaction was being committed."""


class PostgresConnection:
    """Runs statements for `State`. Used by one thread at a time."""

    dialect: Dialect = "postgresql"
    last_row_id = 0

    __slots__ = (
        *("_begin", "_driver", "_escape", "_has_turn", "_lock_timeout_s", "_patience_s", "_pg", "_prepared", "_turns"),
        *("feed_offset", "ids", "keepalive", "reading"),
    )

    def __init__(
        self,
        url: str,
        ids: IdSource,
        *,
        lock_timeout_ms: int,
        keepalive: Keepalive | None = None,
        turns: threading.Lock | None = None,
    ) -> None:
        """Connect. `turns` is common to the connections of a process. Raises StoreUnavailable."""
        self._turns = turns or threading.Lock()
        self._has_turn = False
        self._patience_s = self._lock_timeout_s = lock_timeout_ms / 1000
        self.keepalive = keepalive or Keepalive()
        settings = f"{_SETTINGS}; {self.keepalive.statements()}; SET lock_timeout = {lock_timeout_ms:d}"
        try:
            conninfo = make_conninfo(url, connect_timeout=10, **self.keepalive.options())
            self._driver = psycopg.connect(conninfo, autocommit=True)
            self._driver.execute(settings.encode())
        except psycopg.Error as error:
            raise StoreUnavailable(f"PostgreSQL: {_line(str(error))}") from error
        self._pg = self._driver.pgconn
        self._escape = pq.Escaping(self._pg).escape_literal
        self._begin = b""  # what goes out with the first statement
        self._prepared: dict[str, tuple[bytes, list[Callable[[bytes], Any]]]] = {}
        self.ids = ids
        self.feed_offset = 0
        self.reading = False

    def query(self, sql: str, args: tuple[Any, ...]) -> list[tuple[Any, ...]]:
        """Run a statement and return all its rows."""
        result, decoders = self._run(sql, args)
        cell = result.get_value
        return [
            tuple(
                [
                    None if (value := cell(row, column)) is None else decode(value)
                    for column, decode in enumerate(decoders)
                ]
            )
            for row in range(result.ntuples)
        ]

    def change(self, sql: str, args: tuple[Any, ...]) -> int:
        """Run a statement that returns no rows, and return how many it changed."""
        if self.reading:
            raise _refused()
        result, _ = self._run(sql, args)
        return result.command_tuples or 0

    def text_beginning(self, table: str, column: str, row_id: int, size: int) -> str:
        """Raise TypeError: statements slice texts themselves."""
        raise TypeError("PostgreSQL slices a text in the statement that reads it")

    def take_turn(self) -> None:
        """Wait until no other transaction of this process has the turn, and take it until this one ends.

        For a row that all want in the end: so only one of each process waits at the database.
        """
        if not self._has_turn:
            if not self._turns.acquire(timeout=self._patience_s):
                raise Contended("another transaction of this process has the turn")
            self._has_turn = True

    def _end_turn(self) -> None:
        if self._has_turn:
            self._has_turn = False
            self._turns.release()

    def begin(self, *, no_wait: bool = False, unbounded: bool = False) -> None:
        """Start a transaction that may write; with `no_wait` a locked row is an error at once.

        The statements of one that is `unbounded` may take as long as they need.
        """
        self.reading = False
        self._patience_s = 0.0 if no_wait else self._lock_timeout_s
        self._begin = (_BEGIN_NO_WAIT if no_wait else _BEGIN) + (_UNBOUNDED if unbounded else b"")

    def begin_reading(self, *, unbounded: bool = False) -> None:
        """Start a read-only transaction on a snapshot; see `begin`."""
        self.reading = True
        self._begin = _BEGIN_READING + (_UNBOUNDED if unbounded else b"")

    def commit(self) -> None:
        """Commit. Raises CommitUnknown when the connection breaks meanwhile, unless the transaction only read."""
        if self._begin:
            self._begin = b""  # no statement was run
            return
        try:
            result = self._simple(b"COMMIT")
        except ConnectionLost as error:
            if self.reading:
                raise
            raise CommitUnknown(str(error)) from error
        finally:
            self._end_turn()
        if result.command_status != b"COMMIT":
            raise RuntimeError("the operation continued after one of its statements had failed; it was rolled back")

    def rollback(self) -> None:
        """Roll the transaction back, if there is one. Raises ConnectionLost."""
        self._begin = b""
        try:
            if self._pg.transaction_status != pq.TransactionStatus.IDLE:
                self._simple(b"ROLLBACK")
        finally:
            self._end_turn()

    @property
    def is_broken(self) -> bool:
        """Whether the connection to PostgreSQL is lost."""
        return self._pg.status != pq.ConnStatus.OK

    def duplicate_socket(self) -> int:
        """Return a duplicate descriptor of the socket to watch; libpq closes its own without notice."""
        return os.dup(self._pg.socket)

    def consume(self) -> None:
        """Read what PostgreSQL sent unasked. Raises ConnectionLost when it closed the connection."""
        try:
            self._pg.consume_input()
        except psycopg.OperationalError as error:
            raise ConnectionLost(_line(str(error))) from error
        if self.is_broken:
            raise ConnectionLost("PostgreSQL closed the connection")

    def close(self) -> None:
        """Close the connection. Safe to call twice."""
        self._driver.close()

    def _run(self, sql: str, args: tuple[Any, ...]) -> tuple[Any, list[Callable[[bytes], Any]]]:
        name, decoders = self._prepared.get(sql) or self._prepare(sql)
        cells: Any = [_encode(arg) for arg in args]
        begin, self._begin = self._begin, b""
        try:
            if begin:
                result = self._pg.exec_(b"%s; %s" % (begin, self._execution(name, cells)))
            else:
                result = self._pg.exec_prepared(name, cells)
        except psycopg.OperationalError as error:
            raise ConnectionLost(_line(str(error))) from error
        if result.status == pq.ExecStatus.TUPLES_OK:
            if not decoders:
                decoders.extend(_decoder(result.ftype(column)) for column in range(result.nfields))
        elif result.status != pq.ExecStatus.COMMAND_OK:
            raise self._error_of(result)
        return result, decoders

    def _execution(self, name: bytes, cells: list[bytes | None]) -> bytes:
        """Return a prepared statement with its parameters as SQL."""
        values = b", ".join([b"NULL" if cell is None else self._escape(cell) for cell in cells])
        return b"EXECUTE %s(%s)" % (name, values) if cells else b"EXECUTE " + name

    def _prepare(self, sql: str) -> tuple[bytes, list[Callable[[bytes], Any]]]:
        name = b"s%d" % len(self._prepared)
        try:
            result = self._pg.prepare(name, _native(sql))
        except psycopg.OperationalError as error:
            raise ConnectionLost(_line(str(error))) from error
        if result.status != pq.ExecStatus.COMMAND_OK:
            raise self._error_of(result)
        known = self._prepared[sql] = (name, [])
        return known

    def _simple(self, sql: bytes) -> Any:
        try:
            result = self._pg.exec_(sql)
        except psycopg.OperationalError as error:
            raise ConnectionLost(_line(str(error))) from error
        if result.status not in (pq.ExecStatus.COMMAND_OK, pq.ExecStatus.TUPLES_OK):
            raise self._error_of(result)
        return result

    def _error_of(self, result: Any) -> Exception:
        """Return the error to raise for a failed statement."""
        code = (result.error_field(pq.DiagnosticField.SQLSTATE) or b"").decode()
        message = _line(result.get_error_message())
        if self.is_broken or code.startswith(_LOST):
            return ConnectionLost(message)
        if code in _CONTENDED:
            return Contended(message)
        if code == _DUPLICATE:
            return Contended(message, errors.lookup(code)(message))
        if code == _READ_ONLY and self.reading:
            return _refused()
        if code == _TOO_LONG:
            return InvalidRequest("a name is too long to be kept in an index; use fewer than 2,000 bytes")
        if code.startswith(_UNAVAILABLE):
            return StoreUnavailable(f"PostgreSQL: {message}")
        return errors.lookup(code)(message) if code else psycopg.DatabaseError(message)


@cache
def _native(sql: str) -> bytes:
    """Return a statement with `%s` placeholders in PostgreSQL's own notation."""
    count = 0

    def replace(mark: re.Match[str]) -> str:
        nonlocal count
        if mark.group() == "%%":
            return "%"
        count += 1
        return f"${count}"

    return re.sub(r"%s|%%", replace, sql).encode()


def _encode(value: Any) -> bytes | None:
    if value is None:
        return None
    if isinstance(value, str):
        if "\0" in value:
            raise InvalidRequest("text must not contain the character U+0000")
        return value.encode()
    return repr(value).encode() if isinstance(value, float) else b"%d" % value


def _decoder(oid: int) -> Callable[[bytes], Any]:
    return int if oid in _INTEGERS else _DECODERS.get(oid, bytes.decode)


def _decode_numeric(text: bytes) -> int | float:
    return int(text) if text.lstrip(b"-").isdigit() else float(text)


def _decode_boolean(text: bytes) -> bool:
    return text == b"t"


_DECODERS: dict[int, Callable[[bytes], Any]] = {16: _decode_boolean, 701: float, 1700: _decode_numeric}
"""Of booleans, double precision and numeric; what is not an integer either is text."""


def _line(message: str) -> str:
    """Return a message of several lines as one."""
    return " ".join(message.split())


def _refused() -> TypeError:
    return TypeError("a function given to read() wrote to the state; give it to transact() instead")
