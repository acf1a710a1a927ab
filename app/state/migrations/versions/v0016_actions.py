"""Questions may ask leave for an action, whose approval is consumed once and has an outcome."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0016"
down_revision = "0015"
branch_labels = None
depends_on = None

_TEXT = sa.Text().with_variant(sa.Text(collation="C"), "postgresql")
_ADDED = ("action", "action_digest", "allowed", "doors", "require", "consumed", "outcome")


def upgrade() -> None:
    """Add the columns."""
    for name in _ADDED:
        op.add_column("questions", sa.Column(name, _TEXT, nullable=True))
    op.add_column("questions", sa.Column("approval_ttl_ms", sa.BigInteger(), nullable=True))


def downgrade() -> None:
    """Drop the columns with what they hold."""
    op.drop_column("questions", "approval_ttl_ms")
    for name in _ADDED:
        op.drop_column("questions", name)
