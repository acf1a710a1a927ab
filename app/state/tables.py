"""The tables as typed rows, and the searches that every concern shares."""

from __future__ import annotations

import sqlalchemy as sa

from app.domain.attempts import Attempt
from app.domain.outputs import LateResult, Output
from app.domain.questions import Question
from app.domain.sessions import Session
from app.domain.tasks import Task
from app.domain.tokens import ApiKey, TokenRecord
from app.domain.webhooks import Webhook
from app.state import schema
from app.state.rows import Rows
from app.state.statements import Connection, Statement

TASKS = Rows(schema.tasks, Task)
ATTEMPTS = Rows(schema.attempts, Attempt)
SESSIONS = Rows(schema.sessions, Session)
QUESTIONS = Rows(schema.questions, Question)
OUTPUTS = Rows(schema.outputs, Output)
LATE_RESULTS = Rows(schema.late_results, LateResult)
TOKENS = Rows(schema.tokens, TokenRecord)
API_KEYS = Rows(schema.api_keys, ApiKey)
WEBHOOKS = Rows(schema.webhooks, Webhook)

_META_GET = Statement(sa.select(schema.meta.c.value).where(schema.meta.c.name == sa.bindparam("key_name")))
_META_LOCK = Statement(
    sa.select(schema.meta.c.value).where(schema.meta.c.name == sa.bindparam("key_name")).with_for_update()
)
_META_SET = "INSERT INTO meta (name, value) VALUES ({0}, {0}) ON CONFLICT (name) DO UPDATE SET value = excluded.value"
_META_SETS = {"sqlite": _META_SET.format("?"), "postgresql": _META_SET.format("%s")}


def get_meta(db: Connection, name: str, *, lock: bool = False) -> str | None:
    """A named setting of the database; `lock` holds it against other transactions until this one ends."""
    rows = (_META_LOCK if lock else _META_GET).query(db, key_name=name)
    return rows[0][0] if rows else None


def set_meta(db: Connection, name: str, value: str) -> None:
    """Set a named setting."""
    # The row itself is changed: whoever waits to lock it would not find one that was put in its place.
    db.change(_META_SETS[db.dialect], (name, value))
