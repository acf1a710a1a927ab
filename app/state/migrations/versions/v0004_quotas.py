"""Columns by which the limits of attempts and of trees of tasks are counted."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None

_UNSETTLED = "status IN ('pending', 'running', 'suspended') AND {} IS NOT NULL"
_INDEXED = {"tasks_unsettled_children": "parent_task_id", "tasks_unsettled_below": "root_task_id"}


def upgrade() -> None:
    """Add the columns, find the root of every task that is below another, and index the unsettled ones."""
    for name in ("output_bytes", "late_bytes"):
        op.add_column("attempts", sa.Column(name, sa.BigInteger(), nullable=False, server_default="0"))
    text = sa.Text().with_variant(sa.Text(collation="C"), "postgresql")
    op.add_column("tasks", sa.Column("root_task_id", text, nullable=True))
    op.execute(
        "WITH RECURSIVE below(id, root) AS ("
        " SELECT id, id FROM tasks WHERE parent_task_id IS NULL UNION ALL"
        " SELECT tasks.id, below.root FROM tasks JOIN below ON tasks.parent_task_id = below.id)"
        " UPDATE tasks SET root_task_id = below.root FROM below"
        " WHERE below.id = tasks.id AND tasks.parent_task_id IS NOT NULL"
    )
    for name, column in _INDEXED.items():
        where = sa.text(_UNSETTLED.format(column))
        op.create_index(name, "tasks", [column], sqlite_where=where, postgresql_where=where)


def downgrade() -> None:
    """Drop the indexes and the columns."""
    for name in _INDEXED:
        op.drop_index(name, "tasks")
    op.drop_column("tasks", "root_task_id")
    for name in ("late_bytes", "output_bytes"):
        op.drop_column("attempts", name)
