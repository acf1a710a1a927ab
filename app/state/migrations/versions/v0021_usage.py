"""Keep what attempts report of tokens and cost."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from alembic import op

revision = "0021"
down_revision = "0020"
branch_labels = None
depends_on = None


def _text(name: str) -> sa.Column[Any]:
    return sa.Column(name, sa.Text().with_variant(sa.Text(collation="C"), "postgresql"), nullable=False)


def _int(name: str, *, null: bool = False) -> sa.Column[Any]:
    return sa.Column(name, sa.BigInteger(), nullable=null, autoincrement=False)


def _double(name: str) -> sa.Column[Any]:
    kind: sa.Double[float] = sa.Double()
    return sa.Column(name, kind, nullable=True)


def upgrade() -> None:
    """Add the table."""
    op.create_table(
        "usage",
        _text("task_id"),
        _int("attempt"),
        _text("model"),
        _int("input_tokens", null=True),
        _int("output_tokens", null=True),
        _double("cost"),
        sa.PrimaryKeyConstraint("task_id", "attempt", "model"),
        sqlite_with_rowid=False,
    )


def downgrade() -> None:
    """Drop it."""
    op.drop_table("usage")
