"""Questions have a title, words beside their choices, comments and claims, and are listed by when they were decided."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None

_TEXT = sa.Text().with_variant(sa.Text(collation="C"), "postgresql")
_ADDED = ("title", "choice_words", "takes_comment", "answer_comment", "claim")
_DECIDED = sa.text("answered_at IS NOT NULL")


def upgrade() -> None:
    """Add the columns, and the index of what was decided."""
    for name in _ADDED:
        column = sa.Column(name, _TEXT, nullable=True)
        if name == "takes_comment":
            column = sa.Column(name, sa.SmallInteger(), nullable=False, server_default="0")
        op.add_column("questions", column)
    op.create_index(
        "questions_decided",
        "questions",
        ["namespace", "answered_at", "key"],
        sqlite_where=_DECIDED,
        postgresql_where=_DECIDED,
    )


def downgrade() -> None:
    """Drop the index and the columns with what they hold."""
    op.drop_index("questions_decided", "questions")
    for name in _ADDED:
        op.drop_column("questions", name)
