"""Keep published skills, the tools that queues stand behind."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from alembic import op

revision = "0022"
down_revision = "0021"
branch_labels = None
depends_on = None


def _text(name: str, *, null: bool = False) -> sa.Column[Any]:
    return sa.Column(name, sa.Text().with_variant(sa.Text(collation="C"), "postgresql"), nullable=null)


def upgrade() -> None:
    """Add the table."""
    op.create_table(
        "skills",
        _text("id"),
        sa.Column("namespace", sa.Integer(), nullable=False, server_default="1"),
        _text("name"),
        _text("description"),
        _text("agent"),
        _text("queue"),
        _text("input_schema"),
        _text("output_schema", null=True),
        _text("tags"),
        _text("approval"),
        _text("roles"),
        sa.Column("task", sa.SmallInteger(), nullable=False, server_default="1"),
        sa.Column("of_settings", sa.SmallInteger(), nullable=False, server_default="0"),
        sa.Column("created_at", sa.BigInteger(), nullable=False, autoincrement=False),
        _text("created_by"),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_index("skills_name", "skills", ["namespace", "name"], unique=True)


def downgrade() -> None:
    """Drop it: no skill is published any more."""
    op.drop_table("skills")
