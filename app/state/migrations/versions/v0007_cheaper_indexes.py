"""Let most changes of a task skip the indexes of the unsettled tasks below another."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None

_UNSETTLED = "status IN ('pending', 'running', 'suspended')"
_INDEXED = {"tasks_unsettled_children": "parent_task_id", "tasks_unsettled_below": "root_task_id"}


def upgrade() -> None:
    """Test first whether a task is below another: SQLite builds a table of the statuses to test them."""
    for name, column in _INDEXED.items():
        _index_again(name, column, f"{column} IS NOT NULL AND {_UNSETTLED}")


def downgrade() -> None:
    """Test the status first."""
    for name, column in _INDEXED.items():
        _index_again(name, column, f"{_UNSETTLED} AND {column} IS NOT NULL")


def _index_again(name: str, column: str, condition: str) -> None:
    where = sa.text(condition)
    op.drop_index(name, "tasks")
    op.create_index(name, "tasks", [column], sqlite_where=where, postgresql_where=where)
