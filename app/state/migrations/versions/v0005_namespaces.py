"""Namespaces, and the API key that each row descends from. What was there before lies in the namespace `default`."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None

_IN_NAMESPACE = ("tasks", "attempts", "tokens", "api_keys", "sessions", "questions", "events", "webhooks")
_QUEUED = "phase = 'queued' AND paused_at IS NULL"
_CLAIMED = "queue IS NOT NULL AND phase <> 'queued'"
_BELOW = "parent_task_id IS NOT NULL"


def upgrade() -> None:
    """Add tables and columns, fill in the keys as far as they are known, and let indexes begin with the namespace."""
    _create_tables()
    _add_columns()
    _fill_in_keys()
    _fill_in_askers()
    _fill_in_held_ids()
    _rebuild("resources", "1, key, value, updated_at", (_text("key"), _text("value"), _int("updated_at")), ("key",))
    labels = (_text("name"), _text("value"), _text("task_id"))
    op.drop_index("task_labels_task", "task_labels")
    _rebuild("task_labels", "1, name, value, task_id", labels, ("name", "value", "task_id"), sqlite_with_rowid=False)
    _index("task_labels_task", "task_labels", "task_id")
    _rescope_idempotency()
    _index_anew()


def _text(name: str, *, null: bool = False, default: str | None = None) -> sa.Column[Any]:
    kind = sa.Text().with_variant(sa.Text(collation="C"), "postgresql")
    return sa.Column(name, kind, nullable=null, server_default=default)


def _int(name: str, *, null: bool = False) -> sa.Column[Any]:
    return sa.Column(name, sa.BigInteger(), nullable=null, autoincrement=False)


def _namespace() -> sa.Column[Any]:
    return sa.Column("namespace", sa.Integer(), nullable=False, autoincrement=False)


def _index(name: str, table: str, *columns: str, unique: bool = False, where: str | None = None) -> None:
    condition = None if where is None else sa.text(where)
    parts = [sa.text(column) if " " in column else column for column in columns]
    op.create_index(name, table, parts, unique=unique, sqlite_where=condition, postgresql_where=condition)


def _create_tables() -> None:
    op.create_table(
        "namespaces",
        sa.Column("id", sa.Integer(), nullable=False, autoincrement=False),
        _text("name"),
        _int("created_at"),
        sa.PrimaryKeyConstraint("id"),
    )
    _index("namespaces_name", "namespaces", "name", unique=True)
    op.execute("INSERT INTO namespaces (id, name, created_at) VALUES (1, 'default', 0)")
    op.create_table(
        "held_ids",
        _namespace(),
        _text("id"),
        _text("key_id"),
        _int("held_at"),
        sa.PrimaryKeyConstraint("namespace", "id"),
        sqlite_with_rowid=False,
    )


def _add_columns() -> None:
    for table in _IN_NAMESPACE:
        op.add_column(table, sa.Column("namespace", sa.Integer(), nullable=False, server_default="1"))
    for table in ("attempts", "tokens", "sessions", "webhooks"):
        op.add_column(table, _text("key_id", null=True))
    for column in (
        _text("claimed_key_id", null=True),
        _text("scope", null=True),
        _int("credential_ends_at", null=True),
        _text("gates", null=True),
        _text("further_keys", null=True),
    ):
        op.add_column("attempts", column)
    op.add_column("tasks", sa.Column("expands", sa.SmallInteger(), nullable=False, server_default="1"))
    op.add_column("api_keys", sa.Column("person", sa.SmallInteger(), nullable=False, server_default="0"))
    op.add_column("api_keys", _text("email", null=True))
    op.add_column("questions", _text("asker_keys", default="[]"))
    op.add_column("questions", _text("answered_through", null=True))


def _fill_in_keys() -> None:
    """Follow each credential up to the API key that it descends from."""
    op.execute("UPDATE api_keys SET namespace = 0 WHERE root = 1")
    op.execute(
        "WITH RECURSIVE below(jti, key_id) AS ("
        " SELECT tokens.jti, api_keys.id FROM tokens JOIN api_keys ON tokens.parent_jti = api_keys.id UNION"
        " SELECT tokens.jti, below.key_id FROM tokens JOIN below ON tokens.parent_jti = below.jti)"
        " UPDATE tokens SET key_id = below.key_id FROM below WHERE below.jti = tokens.jti"
    )
    for table, column in (("sessions", "jti"), ("attempts", "parent_jti")):
        op.execute(
            f"UPDATE {table} SET key_id = tokens.key_id FROM tokens WHERE tokens.jti = {table}.{column}"  # noqa: S608 - constants
        )
    op.execute(
        "UPDATE attempts SET claimed_key_id = substr(process, 9, length(process) - 10)"
        ' WHERE queue IS NOT NULL AND substr(process, 1, 10) = \'{"key":"K-\''
    )


def _fill_in_askers() -> None:
    """Let open questions descend from the keys of the attempt that asked."""
    claimer = "CASE WHEN claimed_key_id IS NULL THEN '' ELSE '\",\"' || claimed_key_id END"
    op.execute(
        f"UPDATE questions SET asker_keys = '[\"' || attempts.key_id || {claimer} || '\"]' FROM attempts"  # noqa: S608 - constants
        " WHERE questions.status = 'open' AND attempts.key_id IS NOT NULL"
        " AND attempts.task_id = questions.task_id AND attempts.attempt = questions.attempt"
    )


def _fill_in_held_ids() -> None:
    """Let each id belong to the living key whose session named it first; the root key owns none."""
    named = " UNION ALL ".join(
        f"SELECT {column} AS named, key_id, attached_at, id FROM sessions WHERE {column} IS NOT NULL"  # noqa: S608 - constants
        for column in ("bridge_id", "hook_id", "operator_backend_id")
    )
    op.execute(
        "INSERT INTO held_ids (namespace, id, key_id, held_at)"  # noqa: S608 - constants
        " SELECT 1, named, key_id, attached_at FROM (SELECT named, key_id, attached_at,"
        " row_number() OVER (PARTITION BY named ORDER BY attached_at, ids.id) AS place"
        f" FROM ({named}) AS ids JOIN api_keys ON api_keys.id = ids.key_id"
        " WHERE api_keys.root = 0 AND api_keys.revoked_at IS NULL) AS placed WHERE place = 1"
    )


def _rebuild(table: str, cells: str, columns: tuple[sa.Column[Any], ...], key: tuple[str, ...], **options: Any) -> None:
    """Create a table again with the namespace in front of its primary key."""
    op.execute(f"CREATE TABLE {table}_before AS SELECT * FROM {table}")  # noqa: S608 - constants
    op.drop_table(table)
    op.create_table(table, _namespace(), *columns, sa.PrimaryKeyConstraint("namespace", *key), **options)
    names = ", ".join(["namespace", *(str(column.name) for column in columns)])
    op.execute(f"INSERT INTO {table} ({names}) SELECT {cells} FROM {table}_before")  # noqa: S608 - constants
    op.drop_table(f"{table}_before")


def _rescope_idempotency() -> None:
    """Put namespace and key in front of the scopes of idempotency keys, so that requests are recognised again.

    A request whose label several keys used is recognised for each of them.
    """
    for who, source in (
        ("role || ':' || operator_id", "sessions"),
        ("role || ':' || task_id || ':' || subject", "tokens WHERE task_id IS NOT NULL"),
    ):
        op.execute(
            "INSERT INTO idempotency (scope, key, fingerprint, result, created_at)"  # noqa: S608 - constants
            " SELECT '1:' || callers.key_id || ':' || known.scope, known.key, fingerprint, result, known.created_at"
            f" FROM (SELECT DISTINCT {who} AS who, coalesce(key_id, '') AS key_id FROM {source}) AS callers"
            " JOIN (SELECT 'task' AS route UNION SELECT 'question' UNION SELECT 'dispatch' UNION SELECT 'mint')"
            " AS routes ON 1 = 1"
            " JOIN idempotency AS known ON known.scope = callers.who || ':' || routes.route"
        )


def _index_anew() -> None:
    for name, table, *columns in (
        ("tasks_status", "tasks", "namespace", "status", "id"),
        ("tasks_agent", "tasks", "namespace", "agent", "id"),
        ("questions_status", "questions", "namespace", "status", "key"),
        ("questions_bridge", "questions", "namespace", "bridge_id", "status", "key"),
    ):
        op.drop_index(name, table)
        _index(name, table, *columns)
    op.drop_index("tasks_parent", "tasks")
    _index("tasks_parent", "tasks", "parent_task_id", "id", where=_BELOW)
    for name, columns, where in (
        ("attempts_claimed", ("priority", "turn"), _CLAIMED),
        ("attempts_queued", ("priority DESC", "turn", "task_id"), _QUEUED),
        ("attempts_queued_agent", ("agent", "priority DESC", "turn", "task_id"), _QUEUED),
    ):
        op.drop_index(name, "attempts")
        _index(name, "attempts", "namespace", "queue", *columns, where=where)
    _index("tasks_namespace", "tasks", "namespace", "id")
    _index("questions_namespace", "questions", "namespace", "key")
    _index("sessions_namespace", "sessions", "namespace", "id")
    _index("api_keys_name", "api_keys", "namespace", "name")


def downgrade() -> None:
    """Refuse: in one namespace, the ids and names of several may collide."""
    raise NotImplementedError("restore a backup of the version before")
