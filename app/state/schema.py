"""The schema, defined once for both databases.

Instants and durations are milliseconds in 64-bit integers, booleans are 0 and 1, JSON is text as orjson writes it
(never a native JSON type: those normalise numbers and refuse `\\u0000`). Columns are in the order of the row types in
`app.domain`, which document them; `app.state.rows` checks the order at import.
"""

from __future__ import annotations

import sqlalchemy as sa
from sqlalchemy import BigInteger, Column, Index, SmallInteger, Text

metadata = sa.MetaData()
# Tables of short rows with a text key are stored in the tree of that key (`sqlite_with_rowid=False`).


_BYTEWISE = Text().with_variant(Text(collation="C"), "postgresql")
"""Text compared byte by byte in both databases: ids sort alike, and no upgrade of locales breaks an index."""


def _text(name: str, *, null: bool = False, key: bool = False, default: str | None = None) -> Column[str]:
    return Column(name, _BYTEWISE, nullable=null, primary_key=key, server_default=default)


def _int(name: str, *, null: bool = False, key: bool = False, default: str | None = None) -> Column[int]:
    return Column(name, BigInteger, nullable=null, primary_key=key, autoincrement=False, server_default=default)


def _namespace() -> Column[int]:
    # What lies there from before there were namespaces is in the first one.
    return Column("namespace", sa.Integer, nullable=False, server_default="1")


def _flag(name: str, *, null: bool = False, default: str | None = None) -> Column[int]:
    return Column(name, SmallInteger, nullable=null, server_default=default)


def _index_of(where: str, name: str, *columns: str | sa.TextClause) -> Index:
    """Return an index of the rows that meet the condition alone."""
    return Index(name, *columns, sqlite_where=sa.text(where), postgresql_where=sa.text(where))


namespaces = sa.Table(
    "namespaces",
    metadata,
    Column("id", sa.Integer, primary_key=True, autoincrement=False),
    _text("name"),
    _int("created_at"),
    Index("namespaces_name", "name", unique=True),
)

nodes = sa.Table(
    "nodes",
    metadata,
    _text("id", key=True),
    _text("url"),
    _text("version"),
    _int("started_at"),
    _int("seen_at"),
    _flag("draining"),
    _int("dead_at", null=True),
    _int("recording_since", default="0"),
)

registrations = sa.Table(
    "registrations",
    metadata,
    Column("namespace", sa.Integer, primary_key=True, autoincrement=False),
    _text("name", key=True),
    _text("node"),
    _int("epoch"),
    _int("registered_at"),
    Index("registrations_node", "node"),
    sqlite_with_rowid=False,
)

tasks = sa.Table(
    "tasks",
    metadata,
    _text("id", key=True),
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
    _text("root_task_id", null=True),
    _namespace(),
    _flag("expands", default="1"),
    _int("result_of", null=True),
    Index("tasks_namespace", "namespace", "id"),
    Index("tasks_status", "namespace", "status", "id"),
    Index("tasks_agent", "namespace", "agent", "id"),
    _index_of("parent_task_id IS NOT NULL", "tasks_parent", "parent_task_id", "id"),
    Index("tasks_session", "session_id", "id"),
    # What a worker's tree of tasks is counted by when it grows. Most tasks are below no other, and SQLite finds that at
    # once; to test the statuses it builds a table of them.
    _index_of(
        "parent_task_id IS NOT NULL AND status IN ('pending', 'running', 'suspended')",
        "tasks_unsettled_children",
        "parent_task_id",
    ),
    _index_of(
        "root_task_id IS NOT NULL AND status IN ('pending', 'running', 'suspended')",
        "tasks_unsettled_below",
        "root_task_id",
    ),
    _index_of("retry_at IS NOT NULL", "tasks_retry", "retry_at"),
    # For when dispatching is paused in some namespaces.
    _index_of("retry_at IS NOT NULL", "tasks_retry_namespace", "namespace", "retry_at"),
    _index_of("settled_at IS NOT NULL", "tasks_settled", "status", "settled_at"),
)

task_labels = sa.Table(
    "task_labels",
    metadata,
    Column("namespace", sa.Integer, primary_key=True, autoincrement=False),
    _text("name", key=True),
    _text("value", key=True),
    _text("task_id", key=True),
    Index("task_labels_task", "task_id"),
    sqlite_with_rowid=False,
)

attempts = sa.Table(
    "attempts",
    metadata,
    _text("task_id", key=True),
    _int("attempt", key=True),
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
    _flag("detached", default="0"),
    _flag("hands_out_handle", default="0"),
    _int("output_bytes", default="0"),
    _int("late_bytes", default="0"),
    _namespace(),
    _text("key_id", null=True),
    _text("claimed_key_id", null=True),
    _text("scope", null=True),
    _int("credential_ends_at", null=True),
    _text("gates", null=True),
    _text("further_keys", null=True),
    _int("final_seq", null=True),
    _text("waits_for", null=True),
    # What nodes drive, for those that look for what nobody drives any more.
    _index_of("phase <> 'ended' AND (detached = 0 OR steps = 1)", "attempts_driven", "owner", "task_id", "attempt"),
    _index_of("due_at IS NOT NULL", "attempts_due", "due_at"),
    # What has to be driven, and what is only waited for, in the order of pages.
    _index_of("phase <> 'ended'", "attempts_open", "detached", "task_id", "attempt"),
    # Queued attempts in the order in which they are claimed: of all agents, and of one.
    _index_of(
        "phase = 'queued' AND paused_at IS NULL",
        "attempts_queued",
        "namespace",
        "queue",
        sa.text("priority DESC"),
        "turn",
        "task_id",
    ),
    _index_of(
        "phase = 'queued' AND paused_at IS NULL",
        "attempts_queued_agent",
        "namespace",
        "queue",
        "agent",
        sa.text("priority DESC"),
        "turn",
        "task_id",
    ),
    # The latest claim of each priority.
    _index_of("queue IS NOT NULL AND phase <> 'queued'", "attempts_claimed", "namespace", "queue", "priority", "turn"),
    _index_of("phase <> 'ended'", "attempts_below", "parent_jti"),
)

handles = sa.Table(
    "handles",
    metadata,
    _text("digest", key=True),
    _text("task_id"),
    _int("attempt"),
    _int("created_at"),
    # The others begin with their time.
    _index_of("length(digest) = 64", "handles_untimed", "created_at"),
    sqlite_with_rowid=False,
)

tokens = sa.Table(
    "tokens",
    metadata,
    _text("jti", key=True),
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
    _namespace(),
    _text("key_id", null=True),
    Index("tokens_parent", "parent_jti"),
    Index("tokens_expiry", "expires_at"),
    Index("tokens_task", "task_id"),
)

api_keys = sa.Table(
    "api_keys",
    metadata,
    _text("id", key=True),
    _text("name"),
    _text("roles"),
    _text("digest"),
    _flag("root"),
    _int("created_at"),
    _int("expires_at", null=True),
    _int("revoked_at", null=True),
    _namespace(),
    _flag("person", default="0"),
    _text("email", null=True),
    Index("api_keys_digest", "digest", unique=True),
    Index("api_keys_name", "namespace", "name"),
)

sessions = sa.Table(
    "sessions",
    metadata,
    _text("id", key=True),
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
    _namespace(),
    _text("key_id", null=True),
    _flag("quiet", default="0"),
    Index("sessions_namespace", "namespace", "id"),
    Index("sessions_jti", "jti", unique=True),
    Index("sessions_seen", "attached", "last_seen"),
    Index("sessions_expiry", "expires_at"),
)

questions = sa.Table(
    "questions",
    metadata,
    _text("key", key=True),
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
    _namespace(),
    _text("asker_keys", default="[]"),
    _text("answered_through", null=True),
    _text("title", null=True),
    _text("choice_words", null=True),
    _flag("takes_comment", default="0"),
    _text("answer_comment", null=True),
    _text("claim", null=True),
    _flag("settles_task", default="0"),
    _text("action", null=True),
    _text("action_digest", null=True),
    _text("allowed", null=True),
    _text("doors", null=True),
    _text("require", null=True),
    _text("consumed", null=True),
    _text("outcome", null=True),
    _int("approval_ttl_ms", null=True),
    Index("questions_task", "task_id", "key"),
    Index("questions_namespace", "namespace", "key"),
    Index("questions_status", "namespace", "status", "key"),
    Index("questions_bridge", "namespace", "bridge_id", "status", "key"),
    _index_of("answered_at IS NOT NULL", "questions_decided", "namespace", "answered_at", "key"),
    _index_of("due_at IS NOT NULL", "questions_due", "due_at"),
)

outputs = sa.Table(
    "outputs",
    metadata,
    _text("task_id", key=True),
    _int("attempt", key=True),
    _int("seq", key=True),
    _text("type"),
    _text("body"),
    _int("at"),
)

late_results = sa.Table(
    "late_results",
    metadata,
    _text("task_id", key=True),
    _int("attempt", key=True),
    Column("index", BigInteger, primary_key=True, autoincrement=False),
    _text("value"),
    _flag("ok"),
    _text("reason"),
    _int("at"),
    _int("adopted_at", null=True),
    _text("adopted_by", null=True),
)

resources = sa.Table(
    "resources",
    metadata,
    Column("namespace", sa.Integer, primary_key=True, autoincrement=False),
    _text("key", key=True),
    _text("value"),
    _int("updated_at"),
)

events = sa.Table(
    "events",
    metadata,
    # SQLite: the row id, never reused. PostgreSQL: transaction id and slot in the transaction (see `feed`).
    Column("cursor", BigInteger().with_variant(sa.Integer(), "sqlite"), primary_key=True, autoincrement=True),
    _text("kind"),
    _int("at"),
    _text("task_id", null=True),
    _text("session_id", null=True),
    _int("attempt", null=True),
    _text("data", null=True),
    _namespace(),
    _index_of("task_id IS NOT NULL", "events_task", "task_id", "cursor"),
    sqlite_autoincrement=True,
)

webhooks = sa.Table(
    "webhooks",
    metadata,
    _text("id", key=True),
    _text("name"),
    _text("url"),
    _text("kinds", null=True),
    _text("status"),
    _text("reason", null=True),
    _int("cursor"),
    _int("epoch"),
    _int("failures"),
    _int("failing_since", null=True),
    _int("next_at", null=True),
    _text("last_error", null=True),
    _int("delivered"),
    _int("delivered_at", null=True),
    _int("created_at"),
    _text("created_by"),
    _namespace(),
    _text("key_id", null=True),
    _text("node", null=True),
    _text("format", default="swarmhold"),
    _int("secret_number", default="0"),
    _int("rotated_at", null=True),
    _int("retry_to", null=True),
)

answer_links = sa.Table(
    "answer_links",
    metadata,
    _text("id", key=True),
    _text("digest"),
    _text("question_key"),
    _text("task_id"),
    _namespace(),
    _text("key_id"),
    _text("allow", null=True),
    _text("made_by"),
    _int("made_at"),
    _int("expires_at"),
    _int("revoked_at", null=True),
    Index("answer_links_digest", "digest", unique=True),
    Index("answer_links_task", "task_id"),
)

held_ids = sa.Table(
    "held_ids",
    metadata,
    Column("namespace", sa.Integer, primary_key=True, autoincrement=False),
    _text("id", key=True),
    _text("key_id"),
    _int("held_at"),
    sqlite_with_rowid=False,
)

idempotency = sa.Table(
    "idempotency",
    metadata,
    _text("scope", key=True),
    _text("key", key=True),
    _text("fingerprint"),
    _text("result"),
    _int("created_at"),
    _text("task_id", null=True),
    # Keys whose task is there wait for its end, the others for their age.
    _index_of("task_id IS NULL", "idempotency_unheld", "created_at"),
    _index_of("task_id IS NOT NULL", "idempotency_task", "task_id"),
    sqlite_with_rowid=False,
)

audit = sa.Table(
    "audit",
    metadata,
    _int("seq", key=True),
    _int("at"),
    _text("action"),
    _text("actor"),
    _text("credential", null=True),
    _text("target", null=True),
    _text("detail", null=True),
    _text("digest"),
    _text("role", null=True),
    _text("door", null=True),
    _text("key_id", null=True),
    _text("key_name", null=True),
    _text("session_id", null=True),
    _text("namespace", null=True),
    _text("seal_key", null=True),
)

meta = sa.Table("meta", metadata, _text("name", key=True), _text("value"))
