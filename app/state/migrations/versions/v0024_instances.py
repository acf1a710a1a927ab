"""Webhooks of instances: the key whose requests they report, and a secret from outside, sealed."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0024"
down_revision = "0023"
branch_labels = None
depends_on = None

_TEXT = sa.Text().with_variant(sa.Text(collation="C"), "postgresql")


def upgrade() -> None:
    """Add the columns; no webhook that exists has any of them."""
    op.add_column("webhooks", sa.Column("instance", _TEXT, nullable=True))
    op.add_column("webhooks", sa.Column("sealed_secret", _TEXT, nullable=True))


def downgrade() -> None:
    """Drop them."""
    op.drop_column("webhooks", "sealed_secret")
    op.drop_column("webhooks", "instance")
