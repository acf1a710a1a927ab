"""Properties of an attempt's spawner as columns, instead of names of kinds."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the columns, fill them in for the kinds that shipped until now, and index open attempts by them."""
    for name in ("detached", "hands_out_handle"):
        op.add_column("attempts", sa.Column(name, sa.SmallInteger(), nullable=False, server_default="0"))
    op.execute("UPDATE attempts SET detached = 1 WHERE kind IN ('external', 'queue')")
    op.execute("UPDATE attempts SET hands_out_handle = 1 WHERE kind = 'external'")
    op.drop_index("attempts_open", "attempts")
    _index_open("detached", "task_id", "attempt")


def downgrade() -> None:
    """Drop the columns and restore the index."""
    op.drop_index("attempts_open", "attempts")
    _index_open("kind", "task_id")
    for name in ("hands_out_handle", "detached"):
        op.drop_column("attempts", name)


def _index_open(*columns: str) -> None:
    is_open = sa.text("phase <> 'ended'")
    op.create_index("attempts_open", "attempts", list(columns), sqlite_where=is_open, postgresql_where=is_open)
