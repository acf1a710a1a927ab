"""Say in each row of the audit log by which key, session and door it was done, where, and which key chains it."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None

_COLUMNS = ("role", "door", "key_id", "key_name", "session_id", "namespace", "seal_key")


def upgrade() -> None:
    """Add the columns. Rows that are there have none of them: the first start seals them as they are."""
    text = sa.Text().with_variant(sa.Text(collation="C"), "postgresql")
    for name in _COLUMNS:
        op.add_column("audit", sa.Column(name, text, nullable=True))


def downgrade() -> None:
    """Drop the columns."""
    for name in _COLUMNS:
        op.drop_column("audit", name)
