"""Add what several nodes need to share the work: who is dead, who drives what, and what is registered where."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from alembic import op

revision = "0014"
down_revision = "0013"
branch_labels = None
depends_on = None

_DRIVEN = sa.text("phase <> 'ended' AND (detached = 0 OR steps = 1)")


def _text(name: str, *, null: bool = False) -> sa.Column[Any]:
    return sa.Column(name, sa.Text().with_variant(sa.Text(collation="C"), "postgresql"), nullable=null)


def _int(name: str) -> sa.Column[Any]:
    return sa.Column(name, sa.BigInteger(), nullable=False, autoincrement=False)


def upgrade() -> None:
    """Add the columns, the table of registrations, and the index of what nodes drive."""
    op.add_column("nodes", sa.Column("dead_at", sa.BigInteger(), nullable=True))
    op.add_column("nodes", sa.Column("recording_since", sa.BigInteger(), nullable=False, server_default="0"))
    op.add_column("attempts", _text("waits_for", null=True))
    op.add_column("webhooks", _text("node", null=True))
    op.create_index(
        "attempts_driven",
        "attempts",
        ["owner", "task_id", "attempt"],
        sqlite_where=_DRIVEN,
        postgresql_where=_DRIVEN,
    )
    op.create_table(
        "registrations",
        sa.Column("namespace", sa.Integer(), nullable=False, autoincrement=False),
        _text("name"),
        _text("node"),
        _int("epoch"),
        _int("registered_at"),
        sa.PrimaryKeyConstraint("namespace", "name"),
        sqlite_with_rowid=False,
    )
    op.create_index("registrations_node", "registrations", ["node"])


def downgrade() -> None:
    """Drop them."""
    op.drop_table("registrations")
    op.drop_index("attempts_driven", "attempts")
    op.drop_column("webhooks", "node")
    op.drop_column("attempts", "waits_for")
    op.drop_column("nodes", "recording_since")
    op.drop_column("nodes", "dead_at")
