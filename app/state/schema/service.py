"""The tables of the service: nodes, the event feed, webhooks and what is stored by name."""

from __future__ import annotations

import sqlalchemy as sa
from sqlalchemy import BigInteger, Column, Index

from app.state.schema.columns import flag, index_of, integer, metadata, namespace_column, text

nodes = sa.Table(
    "nodes",
    metadata,
    text("id", key=True),
    text("url"),
    text("version"),
    integer("started_at"),
    integer("seen_at"),
    flag("draining"),
    integer("dead_at", null=True),
    integer("recording_since", default="0"),
)

registrations = sa.Table(
    "registrations",
    metadata,
    Column("namespace", sa.Integer, primary_key=True, autoincrement=False),
    text("name", key=True),
    text("node"),
    integer("epoch"),
    integer("registered_at"),
    Index("registrations_node", "node"),
    sqlite_with_rowid=False,
)

resources = sa.Table(
    "resources",
    metadata,
    Column("namespace", sa.Integer, primary_key=True, autoincrement=False),
    text("key", key=True),
    text("value"),
    integer("updated_at"),
)

events = sa.Table(
    "events",
    metadata,
    # SQLite: the row id, never reused. PostgreSQL: transaction id and slot in the transaction (see `feed`).
    Column("cursor", BigInteger().with_variant(sa.Integer(), "sqlite"), primary_key=True, autoincrement=True),
    text("kind"),
    integer("at"),
    text("task_id", null=True),
    text("session_id", null=True),
    integer("attempt", null=True),
    text("data", null=True),
    namespace_column(),
    index_of("task_id IS NOT NULL", "events_task", "task_id", "cursor"),
    sqlite_autoincrement=True,
)

webhooks = sa.Table(
    "webhooks",
    metadata,
    text("id", key=True),
    text("name"),
    text("url"),
    text("kinds", null=True),
    text("status"),
    text("reason", null=True),
    integer("cursor"),
    integer("epoch"),
    integer("failures"),
    integer("failing_since", null=True),
    integer("next_at", null=True),
    text("last_error", null=True),
    integer("delivered"),
    integer("delivered_at", null=True),
    integer("created_at"),
    text("created_by"),
    namespace_column(),
    text("key_id", null=True),
    text("node", null=True),
    text("format", default="swarmhold"),
    integer("secret_number", default="0"),
    integer("rotated_at", null=True),
    integer("retry_to", null=True),
    text("content", null=True),
    text("template", null=True),
    text("links", null=True),
    text("sign", default="symmetric"),
    text("instance", null=True),
    text("sealed_secret", null=True),
)

webhook_messages = sa.Table(
    "webhook_messages",
    metadata,
    text("webhook_id", key=True),
    text("question_key", key=True),
    text("task_id"),
    text("reference", null=True),
    text("link_id", null=True),
    integer("link_cursor", null=True),
    integer("sent_at", null=True),
    Index("webhook_messages_task", "task_id"),
)

skills = sa.Table(
    "skills",
    metadata,
    text("id", key=True),
    namespace_column(),
    text("name"),
    text("description"),
    text("agent"),
    text("queue"),
    text("input_schema"),
    text("output_schema", null=True),
    text("tags"),
    text("approval"),
    text("roles"),
    flag("task", default="1"),
    flag("of_settings", default="0"),
    integer("created_at"),
    text("created_by"),
    Index("skills_name", "namespace", "name", unique=True),
)

idempotency = sa.Table(
    "idempotency",
    metadata,
    text("scope", key=True),
    text("key", key=True),
    text("fingerprint"),
    text("result"),
    integer("created_at"),
    text("task_id", null=True),
    # Keys whose task is there wait for its end, the others for their age.
    index_of("task_id IS NULL", "idempotency_unheld", "created_at"),
    index_of("task_id IS NOT NULL", "idempotency_task", "task_id"),
    sqlite_with_rowid=False,
)

meta = sa.Table("meta", metadata, text("name", key=True), text("value"))
