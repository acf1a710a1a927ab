"""The columns that tables are made of; see the package for what they hold."""

from __future__ import annotations

import sqlalchemy as sa
from sqlalchemy import BigInteger, Column, Index, SmallInteger, Text

metadata = sa.MetaData()
# Tables of short rows with a text key are stored in the tree of that key (`sqlite_with_rowid=False`).


_BYTEWISE = Text().with_variant(Text(collation="C"), "postgresql")
"""Text compared byte by byte in both databases: ids sort alike, and no upgrade of locales breaks an index."""


def text(name: str, *, null: bool = False, key: bool = False, default: str | None = None) -> Column[str]:
    """Return a column of text that is compared byte by byte."""
    return Column(name, _BYTEWISE, nullable=null, primary_key=key, server_default=default)


def integer(name: str, *, null: bool = False, key: bool = False, default: str | None = None) -> Column[int]:
    """Return a column of 64-bit integers; instants and durations are milliseconds."""
    return Column(name, BigInteger, nullable=null, primary_key=key, autoincrement=False, server_default=default)


def namespace_column() -> Column[int]:
    """Return the column of a row's namespace; rows from before there were namespaces are in the first one."""
    return Column("namespace", sa.Integer, nullable=False, server_default="1")


def flag(name: str, *, null: bool = False, default: str | None = None) -> Column[int]:
    """Return a column of 0 and 1."""
    return Column(name, SmallInteger, nullable=null, server_default=default)


def index_of(where: str, name: str, *columns: str | sa.TextClause) -> Index:
    """Return an index of the rows that meet the condition alone."""
    return Index(name, *columns, sqlite_where=sa.text(where), postgresql_where=sa.text(where))
