"""Keep the trace context of the call that created a task."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0020"
down_revision = "0019"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the column."""
    text = sa.Text().with_variant(sa.Text(collation="C"), "postgresql")
    op.add_column("tasks", sa.Column("trace", text, nullable=True))


def downgrade() -> None:
    """Drop the column with what it holds."""
    op.drop_column("tasks", "trace")
