"""Add webhooks."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def _text(name: str, *, null: bool = False) -> sa.Column[Any]:
    return sa.Column(name, sa.Text().with_variant(sa.Text(collation="C"), "postgresql"), nullable=null)


def _int(name: str, *, null: bool = False) -> sa.Column[Any]:
    return sa.Column(name, sa.BigInteger(), nullable=null, autoincrement=False)


def upgrade() -> None:
    """Create the table of webhooks."""
    op.create_table(
        "webhooks",
        _text("id"),
        _text("name"),
        _text("url"),
        _text("kinds", null=True),
        _text("status"),
        _text("reason", null=True),
        _int("cursor"),
        _int("epoch"),
        _int("failures"),
        _int("failing_since", null=True),
        _int("next_at", null=True),
        _text("last_error", null=True),
        _int("delivered"),
        _int("delivered_at", null=True),
        _int("created_at"),
        _text("created_by"),
        sa.PrimaryKeyConstraint("id"),
    )


def downgrade() -> None:
    """Drop the table of webhooks."""
    op.drop_table("webhooks")
