"""The tables as typed rows, and the named settings that are stored in the database."""

from __future__ import annotations

import sqlalchemy as sa

from app.domain.answer_links import AnswerLink
from app.domain.attempts import Attempt
from app.domain.namespaces import Namespace
from app.domain.nodes import Node, Registered
from app.domain.outputs import LateResult, Output
from app.domain.questions import Question
from app.domain.sessions import Session
from app.domain.skills import Skill
from app.domain.tasks import Task
from app.domain.tokens import ApiKey, HeldId, TokenRecord
from app.domain.usage import UsageRow
from app.domain.webhooks import Webhook, WebhookMessage
from app.state import schema
from app.state.rows import Reference, Rows
from app.state.statements import Connection, Statement

NAMESPACES = Rows(schema.namespaces, Namespace)
NODES = Rows(schema.nodes, Node)
REGISTRATIONS = Rows(schema.registrations, Registered)
LAST_RESULT = Reference(
    schema.tasks.c.result_of,
    schema.attempts,
    "final",
    task_id=schema.tasks.c.id,
    attempt=schema.tasks.c.result_of,
)
TASKS = Rows(schema.tasks, Task, last_result=LAST_RESULT)
ATTEMPTS = Rows(schema.attempts, Attempt)
SESSIONS = Rows(schema.sessions, Session)
QUESTIONS = Rows(schema.questions, Question)
OUTPUTS = Rows(schema.outputs, Output)
USAGE = Rows(schema.usage, UsageRow)
LATE_RESULTS = Rows(schema.late_results, LateResult)
TOKENS = Rows(schema.tokens, TokenRecord)
API_KEYS = Rows(schema.api_keys, ApiKey)
HELD_IDS = Rows(schema.held_ids, HeldId)
ANSWER_LINKS = Rows(schema.answer_links, AnswerLink)
WEBHOOKS = Rows(schema.webhooks, Webhook)
WEBHOOK_MESSAGES = Rows(schema.webhook_messages, WebhookMessage)
SKILLS = Rows(schema.skills, Skill)

_META_GET = Statement(sa.select(schema.meta.c.value).where(schema.meta.c.name == sa.bindparam("key_name")))
_META_LOCK = Statement(
    sa.select(schema.meta.c.value).where(schema.meta.c.name == sa.bindparam("key_name")).with_for_update()
)
_META_DELETE = Statement(sa.delete(schema.meta).where(schema.meta.c.name == sa.bindparam("key_name")))
_META_LIST = Statement(
    sa.select(schema.meta.c.name)
    .where(schema.meta.c.name >= sa.bindparam("first"), schema.meta.c.name < sa.bindparam("end"))
    .order_by(schema.meta.c.name)
)
_META_SET = "INSERT INTO meta (name, value) VALUES ({0}, {0}) ON CONFLICT (name) DO UPDATE SET value = excluded.value"
_META_SETS = {"sqlite": _META_SET.format("?"), "postgresql": _META_SET.format("%s")}

_META_CREATE = "INSERT INTO meta (name, value) VALUES ({0}, {0}) ON CONFLICT (name) DO NOTHING"
_META_CREATES = {"sqlite": _META_CREATE.format("?"), "postgresql": _META_CREATE.format("%s")}


_META_TRY = Statement(
    sa.select(schema.meta.c.value)
    .where(schema.meta.c.name == sa.bindparam("key_name"))
    .with_for_update(skip_locked=True)
)


def try_lock_meta(db: Connection, name: str) -> bool:
    """Lock the row of a setting, if there is one, until this transaction ends; False if another transaction has it."""
    return bool(_META_TRY.query(db, key_name=name)) or get_meta(db, name) is None


def get_meta(db: Connection, name: str, *, lock: bool = False) -> str | None:
    """Return a setting stored in the database; `lock` locks its row until this transaction ends."""
    rows = (_META_LOCK if lock else _META_GET).query(db, key_name=name)
    return rows[0][0] if rows else None


def set_meta(db: Connection, name: str, value: str) -> None:
    """Store a setting in the database."""
    # Update the row in place: a transaction that waits for its lock would not see a row inserted instead.
    db.change(_META_SETS[db.dialect], (name, value))


def create_meta(db: Connection, name: str, value: str) -> bool:
    """Store a setting in the database unless it is there already; return whether it was not."""
    return bool(db.change(_META_CREATES[db.dialect], (name, value)))


def delete_meta(db: Connection, name: str) -> None:
    """Remove a setting from the database; one that is not there is a no-op."""
    _META_DELETE.change(db, key_name=name)


def list_meta(db: Connection, prefix: str) -> list[str]:
    """Return the names of the settings that begin with an ASCII prefix."""
    return [row[0] for row in _META_LIST.query(db, first=prefix, end=prefix[:-1] + chr(ord(prefix[-1]) + 1))]
