"""Tables of what operators look at and no call depends on: the counts of each minute, and who listens to queues."""

from __future__ import annotations

import sqlalchemy as sa
from sqlalchemy import BigInteger, Column, Index, Text

from app.state.schema import metadata

_BYTEWISE = Text().with_variant(Text(collation="C"), "postgresql")


def _count(name: str) -> Column[int]:
    return Column(name, BigInteger, nullable=False, server_default="0")


def _instant(name: str, *, null: bool = False) -> Column[int]:
    return Column(name, BigInteger, nullable=null)


# What happened in a minute (from the feed), and how things stood at its beginning.
minutes = sa.Table(
    "minutes",
    metadata,
    Column("namespace", sa.Integer, primary_key=True, autoincrement=False),
    Column("at", BigInteger, primary_key=True, autoincrement=False),
    _count("created"),
    _count("started"),
    _count("passed"),
    _count("blocked"),
    _count("cancelled"),
    _count("pending"),
    _count("running"),
    _count("suspended"),
    _count("queued"),
    _count("open_questions"),
    _instant("oldest_question_at", null=True),
    Index("minutes_age", "at"),
    sqlite_with_rowid=False,
)

# A worker's claims of a queue through one server process.
listeners = sa.Table(
    "listeners",
    metadata,
    Column("namespace", sa.Integer, primary_key=True, autoincrement=False),
    Column("queue", _BYTEWISE, primary_key=True),
    Column("key_id", _BYTEWISE, primary_key=True),
    Column("worker", _BYTEWISE, primary_key=True),
    Column("node", _BYTEWISE, primary_key=True),
    _count("listening"),
    _instant("since"),
    _instant("last_seen"),
    Index("listeners_seen", "last_seen"),
    sqlite_with_rowid=False,
)
