"""Pages of a table, bounded by items and by bytes: what is too long is measured in the database, and never read whole.

A page costs two statements. The first reads lengths alone (`octet_length` needs no value of either database), and
decides how many rows fit. The second reads these rows, without the values that are shown in part. Of such a value the
beginning is read: SQLite by incremental I/O, PostgreSQL by slicing.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Generic, TypeVar, cast

import sqlalchemy as sa
from sqlalchemy.sql import ColumnElement

from app.state.rows import Rows
from app.state.statements import Connection, Dialect, Statement

R = TypeVar("R", bound=tuple[Any, ...])

ITEM_BYTES = 512
"""What an item is taken to need besides its texts."""

_LONG = sa.bindparam("page_long_bytes", type_=sa.Integer)
_SHOWN = sa.bindparam("page_shown_bytes", type_=sa.Integer)
_LIMIT = sa.bindparam("page_limit", type_=sa.Integer)


@dataclass(frozen=True, slots=True, kw_only=True)
class PageBounds:
    """How much a page holds: `items` and `bytes`. Of a value longer than `long_bytes` `shown_bytes` are read."""

    items: int
    bytes: int
    long_bytes: int
    shown_bytes: int


@dataclass(frozen=True, slots=True)
class Beginning:
    """A value that was not read whole: its first bytes (a character that was cut is left out), and how many it has."""

    text: str
    bytes: int


@dataclass(frozen=True, slots=True)
class FoundRow(Generic[R]):
    """A row, and by column the beginnings of its long values, which are JSON null in the row."""

    row: R
    long: dict[str, Beginning]


@dataclass(frozen=True, slots=True)
class FoundPage(Generic[R]):
    """The rows of one page, their size, and whether more follow."""

    rows: list[FoundRow[R]]
    more: bool
    bytes: int = 0


class PageSearch(Generic[R]):
    """A prepared search that returns pages of one table.

    `where` and `order` are those of `Rows.search`. `long` names the JSON columns of which a page shows the beginning,
    `unread` the nullable ones that it does not show. Every page has at least one item, however long that is.
    """

    __slots__ = ("_at", "_long", "_read", "_referring", "_rows", "_sizes", "_table")

    def __init__(
        self,
        rows: Rows[R],
        *where: ColumnElement[bool],
        order: tuple[Any, ...],
        long: tuple[str, ...] = (),
        unread: tuple[str, ...] = (),
    ) -> None:
        self._rows, self._table, self._long = rows, rows.table, long
        self._referring = [name for name in long if name in rows.references]
        self._at = {name: rows.codec.names.index(name) for name in long}
        found = sa.select(self._size(unread)).where(*where).order_by(*order).limit(_LIMIT)
        self._sizes = Statement(found)
        self._read: dict[Dialect, Statement] = {
            dialect: Statement(self._columns(dialect, unread).where(*where).order_by(*order).limit(_LIMIT))
            for dialect in ("sqlite", "postgresql")
        }

    def page(self, db: Connection, bounds: PageBounds, **values: Any) -> FoundPage[R]:
        """Return as many rows as fit, in order."""
        limits = {"page_long_bytes": bounds.long_bytes, "page_shown_bytes": bounds.shown_bytes}
        sizes = [size for (size,) in self._sizes.query(db, **values, **limits, page_limit=bounds.items + 1)]
        count = _fitting(sizes[: bounds.items], bounds.bytes)
        if not count:
            return FoundPage([], more=False)
        cells = self._read[db.dialect].query(db, **values, **limits, page_limit=count)
        rows = [self._row(db, bounds, row) for row in cells]
        return FoundPage(rows, more=count < len(sizes), bytes=sum(sizes[:count]))

    def _row(self, db: Connection, bounds: PageBounds, cells: tuple[Any, ...]) -> FoundRow[R]:
        width = len(self._rows.codec.names)
        long: dict[str, Beginning] = {}
        row = list(cells[:width])
        for name, size in zip(self._long, cells[width:], strict=False):
            if size is not None and size > bounds.long_bytes:
                text = row[self._at[name]]
                if text is None:
                    text = db.text_beginning(*self._place(name, cells), bounds.shown_bytes)
                long[name] = Beginning(_first_bytes(text, bounds.shown_bytes), size)
                row[self._at[name]] = "null"
        return FoundRow(self._rows.codec.decode(tuple(row)), long)

    def _place(self, name: str, cells: tuple[Any, ...]) -> tuple[str, str, int]:
        """Return table, column and row id of a value (SQLite)."""
        reference = self._rows.references.get(name)
        if reference is not None:
            referred = cells[len(self._rows.codec.names) + len(self._long) + 1 + self._referring.index(name)]
            if referred is not None:
                return reference.table, reference.column, referred
        return self._table.name, name, cells[len(self._rows.codec.names) + len(self._long)]

    def _size(self, unread: tuple[str, ...]) -> ColumnElement[int]:
        parts: list[Any] = [sa.literal_column(str(ITEM_BYTES))]
        for column in self._table.columns:
            if isinstance(column.type, sa.Text) and column.name not in unread:
                length: Any = sa.func.coalesce(self._rows.length(column), sa.literal_column("0"))
                if column.name in self._long:
                    length = sa.case((length > _LONG, _SHOWN), else_=length)
                parts.append(length)
        return cast("ColumnElement[int]", sum(parts[1:], parts[0]))

    def _columns(self, dialect: Dialect, unread: tuple[str, ...]) -> Any:
        shown: list[Any] = []
        for column in self._table.columns:
            if column.name in unread:
                shown.append(sa.null().label(column.name))
            elif column.name in self._long:
                value: Any = self._rows.read(column)
                cut = sa.null() if dialect == "sqlite" else sa.func.left(value, _SHOWN)
                shown.append(sa.case((self._rows.length(column) <= _LONG, value), else_=cut).label(column.name))
            else:
                shown.append(self._rows.read(column))
        shown += [self._rows.length(self._table.c[name]) for name in self._long]
        if dialect == "sqlite" and self._long:
            shown.append(sa.literal_column(f"{self._table.name}.rowid"))
            shown += [self._rows.references[name].row_id() for name in self._referring]
        return sa.select(*shown).select_from(self._table)


def _fitting(sizes: list[int], most: int) -> int:
    """Return how many of the items fit into so many bytes: at least one, if there is one."""
    total = 0
    for count, size in enumerate(sizes):
        total += size
        if count and total > most:
            return count
    return len(sizes)


def _first_bytes(text: str, size: int) -> str:
    return text.encode()[:size].decode(errors="ignore")
