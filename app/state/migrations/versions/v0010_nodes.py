"""Add the registry of nodes."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from alembic import op

revision = "0010"
down_revision = "0009"
branch_labels = None
depends_on = None


def _text(name: str) -> sa.Column[Any]:
    return sa.Column(name, sa.Text().with_variant(sa.Text(collation="C"), "postgresql"), nullable=False)


def _int(name: str) -> sa.Column[Any]:
    return sa.Column(name, sa.BigInteger(), nullable=False, autoincrement=False)


def upgrade() -> None:
    """Create the table of nodes."""
    op.create_table(
        "nodes",
        _text("id"),
        _text("url"),
        _text("version"),
        _int("started_at"),
        _int("seen_at"),
        sa.Column("draining", sa.SmallInteger(), nullable=False),
        sa.PrimaryKeyConstraint("id"),
    )


def downgrade() -> None:
    """Drop the table of nodes."""
    op.drop_table("nodes")
