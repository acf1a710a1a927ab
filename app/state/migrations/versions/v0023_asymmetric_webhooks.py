"""Webhooks say whether their deliveries are signed by a secret of their own or by the server's key."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0023"
down_revision = "0022"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the column; existing webhooks keep their secrets."""
    text = sa.Text().with_variant(sa.Text(collation="C"), "postgresql")
    op.add_column("webhooks", sa.Column("sign", text, nullable=False, server_default="symmetric"))


def downgrade() -> None:
    """Drop it."""
    op.drop_column("webhooks", "sign")
