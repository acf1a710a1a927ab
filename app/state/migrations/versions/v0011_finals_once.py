"""A Final is stored with its attempt alone: tasks refer to it, and the outputs have no row of it."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0011"
down_revision = "0010"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the references; what was stored before stays where it is."""
    op.add_column("tasks", sa.Column("result_of", sa.BigInteger(), nullable=True))
    op.add_column("attempts", sa.Column("final_seq", sa.BigInteger(), nullable=True))


def downgrade() -> None:
    """Store the Finals in all three places again."""
    op.execute(
        "INSERT INTO outputs (task_id, attempt, seq, type, body, at) SELECT task_id, attempt, final_seq, 'final',"
        ' \'{"content":{"kind":"inline","value":\' || final || \'},"ok":\' ||'
        " CASE final_ok WHEN 1 THEN 'true' ELSE 'false' END || '}', ended_at FROM attempts WHERE final_seq IS NOT NULL"
    )
    op.execute(
        "UPDATE tasks SET last_result = (SELECT final FROM attempts AS ended"
        " WHERE ended.task_id = tasks.id AND ended.attempt = tasks.result_of) WHERE result_of IS NOT NULL"
    )
    op.drop_column("attempts", "final_seq")
    op.drop_column("tasks", "result_of")
