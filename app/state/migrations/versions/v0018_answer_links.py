"""Keep the links by which people answer a question without signing in."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from alembic import op

revision = "0018"
down_revision = "0017"
branch_labels = None
depends_on = None


def _text(name: str, *, null: bool = False) -> sa.Column[Any]:
    return sa.Column(name, sa.Text().with_variant(sa.Text(collation="C"), "postgresql"), nullable=null)


def _int(name: str, *, null: bool = False) -> sa.Column[Any]:
    return sa.Column(name, sa.BigInteger(), nullable=null, autoincrement=False)


def upgrade() -> None:
    """Add the table."""
    op.create_table(
        "answer_links",
        _text("id"),
        _text("digest"),
        _text("question_key"),
        _text("task_id"),
        sa.Column("namespace", sa.Integer(), nullable=False, server_default="1"),
        _text("key_id"),
        _text("allow", null=True),
        _text("made_by"),
        _int("made_at"),
        _int("expires_at"),
        _int("revoked_at", null=True),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_index("answer_links_digest", "answer_links", ["digest"], unique=True)
    op.create_index("answer_links_task", "answer_links", ["task_id"])


def downgrade() -> None:
    """Drop it: every link that was made is void."""
    op.drop_table("answer_links")
