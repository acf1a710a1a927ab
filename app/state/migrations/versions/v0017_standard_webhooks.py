"""Webhooks have a format, numbered secrets, and the end of a batch that failed."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0017"
down_revision = "0016"
branch_labels = None
depends_on = None

_TEXT = sa.Text().with_variant(sa.Text(collation="C"), "postgresql")


def upgrade() -> None:
    """Add the columns; existing webhooks keep their format and their secret."""
    op.add_column("webhooks", sa.Column("format", _TEXT, nullable=False, server_default="swarmhold"))
    op.add_column("webhooks", sa.Column("secret_number", sa.BigInteger(), nullable=False, server_default="0"))
    op.add_column("webhooks", sa.Column("rotated_at", sa.BigInteger(), nullable=True))
    op.add_column("webhooks", sa.Column("retry_to", sa.BigInteger(), nullable=True))


def downgrade() -> None:
    """Drop them."""
    for name in ("retry_to", "rotated_at", "secret_number", "format"):
        op.drop_column("webhooks", name)
