"""Webhooks for people: what their messages show, what was sent about which question, and reminders of deadlines."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0019"
down_revision = "0018"
branch_labels = None
depends_on = None

_TEXT = sa.Text().with_variant(sa.Text(collation="C"), "postgresql")


def upgrade() -> None:
    """Add the columns and the table. Questions that are open already have no reminder."""
    op.add_column("webhooks", sa.Column("content", _TEXT, nullable=True))
    op.add_column("webhooks", sa.Column("template", _TEXT, nullable=True))
    op.add_column("webhooks", sa.Column("links", _TEXT, nullable=True))
    op.create_table(
        "webhook_messages",
        sa.Column("webhook_id", _TEXT, nullable=False),
        sa.Column("question_key", _TEXT, nullable=False),
        sa.Column("task_id", _TEXT, nullable=False),
        sa.Column("reference", _TEXT, nullable=True),
        sa.Column("link_id", _TEXT, nullable=True),
        sa.Column("link_cursor", sa.BigInteger(), nullable=True),
        sa.Column("sent_at", sa.BigInteger(), nullable=True),
        sa.PrimaryKeyConstraint("webhook_id", "question_key"),
    )
    op.create_index("webhook_messages_task", "webhook_messages", ["task_id"])
    op.add_column("questions", sa.Column("remind_at", sa.BigInteger(), nullable=True))
    due = sa.text("remind_at IS NOT NULL")
    op.create_index("questions_reminders", "questions", ["remind_at"], sqlite_where=due, postgresql_where=due)


def downgrade() -> None:
    """Drop them."""
    op.drop_index("questions_reminders", "questions")
    op.drop_column("questions", "remind_at")
    op.drop_table("webhook_messages")
    for name in ("links", "template", "content"):
        op.drop_column("webhooks", name)
