"""A switch of dispatching for each namespace; the one that there was becomes that of the namespace `default`."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None

_RETRIED = sa.text("retry_at IS NOT NULL")


def upgrade() -> None:
    """Rename the switch, copy it while it is off, and index the planned retries of each namespace."""
    op.execute("UPDATE meta SET name = 'loop:1' WHERE name = 'loop'")
    op.execute(
        "INSERT INTO meta (name, value) SELECT 'paused:1', value FROM meta"
        " WHERE name = 'loop:1' AND substr(value, 1, 14) = '{\"paused\":true'"
        " AND NOT EXISTS (SELECT 1 FROM meta WHERE name = 'paused:1')"
    )
    op.create_index(
        "tasks_retry_namespace",
        "tasks",
        ["namespace", "retry_at"],
        if_not_exists=True,
        sqlite_where=_RETRIED,
        postgresql_where=_RETRIED,
    )


def downgrade() -> None:
    """Drop the index, and name the switch as before; those of other namespaces are lost."""
    op.drop_index("tasks_retry_namespace", "tasks")
    op.execute("DELETE FROM meta WHERE substr(name, 1, 7) = 'paused:'")
    op.execute("UPDATE meta SET name = 'loop' WHERE name = 'loop:1'")
