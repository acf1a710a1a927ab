"""The tables of who may do what: namespaces, credentials, sessions and the audit log."""

from __future__ import annotations

import sqlalchemy as sa
from sqlalchemy import Column, Index

from app.state.schema.columns import flag, integer, metadata, namespace_column, text

namespaces = sa.Table(
    "namespaces",
    metadata,
    Column("id", sa.Integer, primary_key=True, autoincrement=False),
    text("name"),
    integer("created_at"),
    Index("namespaces_name", "name", unique=True),
)

tokens = sa.Table(
    "tokens",
    metadata,
    text("jti", key=True),
    text("role"),
    text("subject"),
    text("scope", null=True),
    text("parent_jti", null=True),
    text("task_id", null=True),
    text("session_id", null=True),
    integer("issued_at"),
    integer("expires_at"),
    integer("max_uses", null=True),
    integer("uses_left", null=True),
    integer("revoked_at", null=True),
    namespace_column(),
    text("key_id", null=True),
    Index("tokens_parent", "parent_jti"),
    Index("tokens_expiry", "expires_at"),
    Index("tokens_task", "task_id"),
)

api_keys = sa.Table(
    "api_keys",
    metadata,
    text("id", key=True),
    text("name"),
    text("roles"),
    text("digest"),
    flag("root"),
    integer("created_at"),
    integer("expires_at", null=True),
    integer("revoked_at", null=True),
    namespace_column(),
    flag("person", default="0"),
    text("email", null=True),
    Index("api_keys_digest", "digest", unique=True),
    Index("api_keys_name", "namespace", "name"),
)

sessions = sa.Table(
    "sessions",
    metadata,
    text("id", key=True),
    text("operator_id"),
    text("role"),
    text("jti"),
    text("kind", null=True),
    text("bridge_id", null=True),
    text("hook_id", null=True),
    text("operator_backend_id", null=True),
    text("operator_kind_overrides"),
    text("bp_agent_kinds"),
    text("bp_global_kind", null=True),
    flag("rebuildable"),
    flag("attached"),
    integer("attached_at"),
    integer("detached_at", null=True),
    integer("last_seen"),
    integer("expires_at"),
    namespace_column(),
    text("key_id", null=True),
    flag("quiet", default="0"),
    Index("sessions_namespace", "namespace", "id"),
    Index("sessions_jti", "jti", unique=True),
    Index("sessions_seen", "attached", "last_seen"),
    Index("sessions_expiry", "expires_at"),
)

held_ids = sa.Table(
    "held_ids",
    metadata,
    Column("namespace", sa.Integer, primary_key=True, autoincrement=False),
    text("id", key=True),
    text("key_id"),
    integer("held_at"),
    sqlite_with_rowid=False,
)

audit = sa.Table(
    "audit",
    metadata,
    integer("seq", key=True),
    integer("at"),
    text("action"),
    text("actor"),
    text("credential", null=True),
    text("target", null=True),
    text("detail", null=True),
    text("digest"),
    text("role", null=True),
    text("door", null=True),
    text("key_id", null=True),
    text("key_name", null=True),
    text("session_id", null=True),
    text("namespace", null=True),
    text("seal_key", null=True),
)
