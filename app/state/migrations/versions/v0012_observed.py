"""The index of words in tasks, the counts of each minute, who listens to queues, and sessions without events."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from alembic import op

from app.state.task_words import TABLES

revision = "0012"
down_revision = "0011"
branch_labels = None
depends_on = None

_GAUGES = ("pending", "running", "suspended", "queued", "open_questions")
_COUNTS = ("created", "started", "passed", "blocked", "cancelled", *_GAUGES)


def upgrade() -> None:
    """Create the tables; a server fills the index beside its work, the newest tasks first."""
    for statement in TABLES["postgresql" if op.get_context().dialect.name == "postgresql" else "sqlite"]:
        op.execute(statement)
    op.execute('INSERT INTO meta (name, value) VALUES (\'indexed\', \'{"cursor":null,"before":"T-~"}\')')
    op.create_table(
        "minutes",
        _namespace(),
        _int("at"),
        *(_int(name, default="0") for name in _COUNTS),
        _int("oldest_question_at", null=True),
        sa.PrimaryKeyConstraint("namespace", "at"),
        sqlite_with_rowid=False,
    )
    op.create_index("minutes_age", "minutes", ["at"])
    op.create_table(
        "listeners",
        _namespace(),
        *(_text(name) for name in ("queue", "key_id", "worker", "node")),
        _int("listening", default="0"),
        _int("since"),
        _int("last_seen"),
        sa.PrimaryKeyConstraint("namespace", "queue", "key_id", "worker", "node"),
        sqlite_with_rowid=False,
    )
    op.create_index("listeners_seen", "listeners", ["last_seen"])
    op.add_column("sessions", sa.Column("quiet", sa.SmallInteger(), nullable=False, server_default="0"))


def _namespace() -> sa.Column[Any]:
    return sa.Column("namespace", sa.Integer(), nullable=False, autoincrement=False)


def _text(name: str) -> sa.Column[Any]:
    kind = sa.Text().with_variant(sa.Text(collation="C"), "postgresql")
    return sa.Column(name, kind, nullable=False)


def _int(name: str, *, null: bool = False, default: str | None = None) -> sa.Column[Any]:
    return sa.Column(name, sa.BigInteger(), nullable=null, autoincrement=False, server_default=default)


def downgrade() -> None:
    """Drop them."""
    op.drop_column("sessions", "quiet")
    op.drop_table("listeners")
    op.drop_table("minutes")
    op.execute("DELETE FROM meta WHERE name = 'indexed'")
    op.drop_table("task_words")
    op.execute("DROP TABLE IF EXISTS searched_tasks")
