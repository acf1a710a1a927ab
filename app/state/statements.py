"""SQL statements written once with SQLAlchemy Core, compiled once per dialect, executed on the bare driver.

Executing through SQLAlchemy costs several times as much as the statement itself; compiling happens once.
"""

from __future__ import annotations

from collections.abc import Callable
from operator import itemgetter
from typing import Any, Literal, Protocol

from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.sql import ClauseElement, visitors

Dialect = Literal["sqlite", "postgresql"]

_DIALECTS = {
    "sqlite": sqlite.dialect(paramstyle="qmark"),
    "postgresql": postgresql.dialect(paramstyle="format"),
}


class Connection(Protocol):
    """The part of a driver that a transaction needs. One transaction at a time; not thread-safe."""

    dialect: Dialect

    def query(self, sql: str, args: tuple[Any, ...]) -> list[tuple[Any, ...]]:
        """Run a statement and return all its rows."""
        ...

    def change(self, sql: str, args: tuple[Any, ...]) -> int:
        """Run a statement that returns no rows, and return how many it changed."""
        ...

    @property
    def feed_offset(self) -> int:
        """The offset added to transaction ids so that cursors always grow (PostgreSQL; 0 in SQLite)."""
        ...

    @property
    def last_row_id(self) -> int:
        """The id of the row that was inserted last (SQLite; 0 in PostgreSQL)."""
        ...

    def take_turn(self) -> None:
        """Wait for the other transactions of this process that have called it, until each has ended."""
        ...

    def text_beginning(self, table: str, column: str, row_id: int, size: int) -> str:
        """Return the first `size` bytes of a text without reading the rest of it (SQLite; PostgreSQL slices texts)."""
        ...


class Compiled:
    """The SQL of a statement in one dialect, and the function that orders its parameters."""

    __slots__ = ("args", "names", "sql")

    def __init__(self, clause: ClauseElement, dialect: Dialect) -> None:
        # Parameters get their values when the statement runs; with lists of constants the compiler wants them now.
        visitors.traverse(clause, {}, {"bindparam": _make_optional})
        compiled: Any = clause.compile(dialect=_DIALECTS[dialect], compile_kwargs={"render_postcompile": True})
        self.sql: str = str(compiled)
        self.names: tuple[str, ...] = tuple(compiled.positiontup or ())
        constants: dict[str, Any] = {k: v for k, v in dict(compiled.params).items() if v is not None}
        self.args = _binder(self.names, constants)


def _make_optional(parameter: Any) -> None:
    parameter.required = False


def _binder(names: tuple[str, ...], constants: dict[str, Any]) -> Callable[[dict[str, Any]], tuple[Any, ...]]:
    """Return a function from named values to positional ones; given values override the statement's constants."""
    if not constants.keys().isdisjoint(names):
        return lambda values: tuple([values[name] if name in values else constants[name] for name in names])
    if len(names) > 1:
        return itemgetter(*names)
    if names:
        (only,) = names
        return lambda values: (values[only],)
    return lambda values: ()


class Statement:
    """A statement with named parameters, compiled at first use in each dialect."""

    __slots__ = ("_clause", "_compiled")

    def __init__(self, clause: ClauseElement) -> None:
        self._clause = clause
        self._compiled: dict[Dialect, Compiled] = {}

    def compiled(self, dialect: Dialect) -> Compiled:
        """Return the statement as compiled for a dialect."""
        found = self._compiled.get(dialect)
        if found is None:
            found = self._compiled[dialect] = Compiled(self._clause, dialect)
        return found

    def query(self, connection: Connection, **values: Any) -> list[tuple[Any, ...]]:
        """Run the statement and return all its rows."""
        compiled = self._compiled.get(connection.dialect) or self.compiled(connection.dialect)
        return connection.query(compiled.sql, compiled.args(values))

    def change(self, connection: Connection, **values: Any) -> int:
        """Run the statement and return how many rows it changed."""
        compiled = self._compiled.get(connection.dialect) or self.compiled(connection.dialect)
        return connection.change(compiled.sql, compiled.args(values))
