"""Handles are found by a digest that begins with their time, which is their age as well."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0013"
down_revision = "0012"
branch_labels = None
depends_on = None

_UNTIMED = sa.text("length(digest) = 64")


def upgrade() -> None:
    """Keep the age of handles without a time alone; a task's handles go by their age."""
    op.drop_index("handles_attempt", "handles")
    op.drop_index("handles_age", "handles")
    op.create_index("handles_untimed", "handles", ["created_at"], sqlite_where=_UNTIMED, postgresql_where=_UNTIMED)


def downgrade() -> None:
    """Index all handles by age and attempt. Those with a time become unknown: their digests are no plain ones."""
    op.drop_index("handles_untimed", "handles")
    op.create_index("handles_age", "handles", ["created_at"])
    op.create_index("handles_attempt", "handles", ["task_id", "attempt"])
