"""Create the first schema."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


def _text(name: str, *, null: bool = False) -> sa.Column[Any]:
    return sa.Column(name, sa.Text().with_variant(sa.Text(collation="C"), "postgresql"), nullable=null)


def _int(name: str, *, null: bool = False) -> sa.Column[Any]:
    return sa.Column(name, sa.BigInteger(), nullable=null, autoincrement=False)


def _flag(name: str, *, null: bool = False) -> sa.Column[Any]:
    return sa.Column(name, sa.SmallInteger(), nullable=null)


def _index(name: str, table: str, *columns: str, unique: bool = False, where: str | None = None) -> None:
    condition = None if where is None else sa.text(where)
    parts = [sa.text(column) if " " in column else column for column in columns]
    op.create_index(name, table, parts, unique=unique, sqlite_where=condition, postgresql_where=condition)


def _create_tasks() -> None:
    op.create_table(
        "tasks",
        _text("id"),
        _text("agent"),
        _text("directive"),
        _text("status"),
        _int("attempt"),
        _flag("live"),
        _text("last_result", null=True),
        _int("spawn_depth"),
        _text("parent_task_id", null=True),
        _text("session_id", null=True),
        _text("creator_jti", null=True),
        _text("labels"),
        _text("retry", null=True),
        _int("attempt_timeout_ms", null=True),
        _int("asked"),
        _int("open_questions"),
        _text("next_prompt", null=True),
        _int("retry_at", null=True),
        _int("version"),
        _int("created_at"),
        _int("updated_at"),
        _int("settled_at", null=True),
        sa.PrimaryKeyConstraint("id"),
    )
    _index("tasks_agent", "tasks", "agent", "id")
    _index("tasks_parent", "tasks", "parent_task_id", "id")
    _index("tasks_retry", "tasks", "retry_at", where="retry_at IS NOT NULL")
    _index("tasks_session", "tasks", "session_id", "id")
    _index("tasks_settled", "tasks", "status", "settled_at", where="settled_at IS NOT NULL")
    _index("tasks_status", "tasks", "status", "id")


def _create_task_labels() -> None:
    op.create_table(
        "task_labels",
        _text("name"),
        _text("value"),
        _text("task_id"),
        sa.PrimaryKeyConstraint("name", "value", "task_id"),
        sqlite_with_rowid=False,
    )
    _index("task_labels_task", "task_labels", "task_id")


def _create_attempts() -> None:
    op.create_table(
        "attempts",
        _text("task_id"),
        _int("attempt"),
        _text("agent"),
        _text("phase"),
        _text("prompt", null=True),
        _text("system", null=True),
        _text("kind"),
        _text("spawner"),
        _text("layers"),
        _flag("steps"),
        _flag("repeatable"),
        _text("session_id", null=True),
        _text("jti"),
        _text("parent_jti", null=True),
        _text("worker_id", null=True),
        _text("process", null=True),
        _int("lease_ms", null=True),
        _int("lease_expires_at", null=True),
        _int("timeout_at", null=True),
        _int("handle_expires_at"),
        _int("paused_at", null=True),
        _int("due_at", null=True),
        _text("queue", null=True),
        _int("priority"),
        _int("turn"),
        _text("owner", null=True),
        _int("epoch"),
        _int("last_seen_at", null=True),
        _text("final", null=True),
        _flag("final_ok", null=True),
        _text("outcome", null=True),
        _text("reason", null=True),
        _text("detail", null=True),
        _text("held_by", null=True),
        _int("warned_at", null=True),
        _int("outputs"),
        _int("late"),
        _int("started_at"),
        _int("ended_at", null=True),
        sa.PrimaryKeyConstraint("task_id", "attempt"),
    )
    _index("attempts_below", "attempts", "parent_jti", where="phase <> 'ended'")
    claimed = "queue IS NOT NULL AND phase <> 'queued'"
    _index("attempts_claimed", "attempts", "queue", "priority", "turn", where=claimed)
    _index("attempts_due", "attempts", "due_at", where="due_at IS NOT NULL")
    _index("attempts_open", "attempts", "kind", "task_id", where="phase <> 'ended'")
    queued = "phase = 'queued' AND paused_at IS NULL"
    _index("attempts_queued", "attempts", "queue", "priority DESC", "turn", "task_id", where=queued)
    _index("attempts_queued_agent", "attempts", "queue", "agent", "priority DESC", "turn", "task_id", where=queued)


def _create_handles() -> None:
    op.create_table(
        "handles",
        _text("digest"),
        _text("task_id"),
        _int("attempt"),
        _int("created_at"),
        sa.PrimaryKeyConstraint("digest"),
        sqlite_with_rowid=False,
    )
    _index("handles_age", "handles", "created_at")
    _index("handles_attempt", "handles", "task_id", "attempt")


def _create_tokens() -> None:
    op.create_table(
        "tokens",
        _text("jti"),
        _text("role"),
        _text("subject"),
        _text("scope", null=True),
        _text("parent_jti", null=True),
        _text("task_id", null=True),
        _text("session_id", null=True),
        _int("issued_at"),
        _int("expires_at"),
        _int("max_uses", null=True),
        _int("uses_left", null=True),
        _int("revoked_at", null=True),
        sa.PrimaryKeyConstraint("jti"),
    )
    _index("tokens_expiry", "tokens", "expires_at")
    _index("tokens_parent", "tokens", "parent_jti")
    _index("tokens_task", "tokens", "task_id")


def _create_api_keys() -> None:
    op.create_table(
        "api_keys",
        _text("id"),
        _text("name"),
        _text("roles"),
        _text("digest"),
        _flag("root"),
        _int("created_at"),
        _int("expires_at", null=True),
        _int("revoked_at", null=True),
        sa.PrimaryKeyConstraint("id"),
    )
    _index("api_keys_digest", "api_keys", "digest", unique=True)


def _create_sessions() -> None:
    op.create_table(
        "sessions",
        _text("id"),
        _text("operator_id"),
        _text("role"),
        _text("jti"),
        _text("kind", null=True),
        _text("bridge_id", null=True),
        _text("hook_id", null=True),
        _text("operator_backend_id", null=True),
        _text("operator_kind_overrides"),
        _text("bp_agent_kinds"),
        _text("bp_global_kind", null=True),
        _flag("rebuildable"),
        _flag("attached"),
        _int("attached_at"),
        _int("detached_at", null=True),
        _int("last_seen"),
        _int("expires_at"),
        sa.PrimaryKeyConstraint("id"),
    )
    _index("sessions_expiry", "sessions", "expires_at")
    _index("sessions_jti", "sessions", "jti", unique=True)
    _index("sessions_seen", "sessions", "attached", "last_seen")


def _create_questions() -> None:
    op.create_table(
        "questions",
        _text("key"),
        _text("task_id"),
        _int("attempt"),
        _text("agent"),
        _text("purpose"),
        _text("asked_by"),
        _text("asker_role"),
        _text("question"),
        _text("answer_schema", null=True),
        _text("choices", null=True),
        _text("bridge_id", null=True),
        _int("deadline", null=True),
        _text("on_deadline"),
        _text("default_answer", null=True),
        _text("escalate_to", null=True),
        _text("status"),
        _text("answer", null=True),
        _text("answered_by", null=True),
        _text("reason", null=True),
        _int("asked_at"),
        _int("answered_at", null=True),
        _text("delivered_to"),
        _int("due_at", null=True),
        sa.PrimaryKeyConstraint("key"),
    )
    _index("questions_bridge", "questions", "bridge_id", "status", "key")
    _index("questions_due", "questions", "due_at", where="due_at IS NOT NULL")
    _index("questions_status", "questions", "status", "key")
    _index("questions_task", "questions", "task_id", "key")


def _create_outputs() -> None:
    op.create_table(
        "outputs",
        _text("task_id"),
        _int("attempt"),
        _int("seq"),
        _text("type"),
        _text("body"),
        _int("at"),
        sa.PrimaryKeyConstraint("task_id", "attempt", "seq"),
    )


def _create_late_results() -> None:
    op.create_table(
        "late_results",
        _text("task_id"),
        _int("attempt"),
        _int("index"),
        _text("value"),
        _flag("ok"),
        _text("reason"),
        _int("at"),
        _int("adopted_at", null=True),
        _text("adopted_by", null=True),
        sa.PrimaryKeyConstraint("task_id", "attempt", "index"),
    )


def _create_resources() -> None:
    op.create_table(
        "resources",
        _text("key"),
        _text("value"),
        _int("updated_at"),
        sa.PrimaryKeyConstraint("key"),
    )


def _create_events() -> None:
    op.create_table(
        "events",
        sa.Column("cursor", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False, autoincrement=True),
        _text("kind"),
        _int("at"),
        _text("task_id", null=True),
        _text("session_id", null=True),
        _int("attempt", null=True),
        _text("data", null=True),
        sa.PrimaryKeyConstraint("cursor"),
        sqlite_autoincrement=True,
    )
    _index("events_task", "events", "task_id", "cursor", where="task_id IS NOT NULL")


def _create_idempotency() -> None:
    op.create_table(
        "idempotency",
        _text("scope"),
        _text("key"),
        _text("fingerprint"),
        _text("result"),
        _int("created_at"),
        sa.PrimaryKeyConstraint("scope", "key"),
        sqlite_with_rowid=False,
    )
    _index("idempotency_age", "idempotency", "created_at")


def _create_audit() -> None:
    op.create_table(
        "audit",
        _int("seq"),
        _int("at"),
        _text("action"),
        _text("actor"),
        _text("credential", null=True),
        _text("target", null=True),
        _text("detail", null=True),
        _text("digest"),
        sa.PrimaryKeyConstraint("seq"),
    )


def _create_meta() -> None:
    op.create_table(
        "meta",
        _text("name"),
        _text("value"),
        sa.PrimaryKeyConstraint("name"),
    )


def upgrade() -> None:
    """Create every table."""
    _create_tasks()
    _create_task_labels()
    _create_attempts()
    _create_handles()
    _create_tokens()
    _create_api_keys()
    _create_sessions()
    _create_questions()
    _create_outputs()
    _create_late_results()
    _create_resources()
    _create_events()
    _create_idempotency()
    _create_audit()
    _create_meta()


def downgrade() -> None:
    """Drop every table."""
    for name in reversed(
        (
            "tasks",
            "task_labels",
            "attempts",
            "handles",
            "tokens",
            "api_keys",
            "sessions",
            "questions",
            "outputs",
            "late_results",
            "resources",
            "events",
            "idempotency",
            "audit",
            "meta",
        )
    ):
        op.drop_table(name)
