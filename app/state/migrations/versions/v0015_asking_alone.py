"""Questions may have a task of their own, and idempotency keys stay as long as the task that they belong to."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0015"
down_revision = "0014"
branch_labels = None
depends_on = None

_TEXT = sa.Text().with_variant(sa.Text(collation="C"), "postgresql")
_INDEXES = {
    "idempotency_unheld": ("task_id IS NULL", "created_at"),
    "idempotency_task": ("task_id IS NOT NULL", "task_id"),
}
# A result is the JSON of what the key made: of a task its id, of a question its key.
_NAMED = "substr(result, 2, length(result) - 2)"


def upgrade() -> None:
    """Add the columns and their indexes, and find the task of each key that made a task or a question."""
    op.add_column("questions", sa.Column("settles_task", sa.SmallInteger(), nullable=False, server_default="0"))
    op.add_column("idempotency", sa.Column("task_id", _TEXT, nullable=True))
    op.execute(
        f"UPDATE idempotency SET task_id = (SELECT id FROM tasks WHERE id = {_NAMED}) "  # noqa: S608
        "WHERE scope LIKE '%:task'"
    )
    op.execute(
        f"UPDATE idempotency SET task_id = (SELECT task_id FROM questions WHERE key = {_NAMED}) "  # noqa: S608
        "WHERE scope LIKE '%:question'"
    )
    for name, (condition, column) in _INDEXES.items():
        where = sa.text(condition)
        op.create_index(name, "idempotency", [column], sqlite_where=where, postgresql_where=where)
    op.drop_index("idempotency_age", "idempotency")


def downgrade() -> None:
    """Drop them."""
    op.create_index("idempotency_age", "idempotency", ["created_at"])
    for name in _INDEXES:
        op.drop_index(name, "idempotency")
    op.drop_column("idempotency", "task_id")
    op.drop_column("questions", "settles_task")
