"""The schema, defined once for both databases.

Instants and durations are milliseconds in 64-bit integers, booleans are 0 and 1, JSON is text as orjson writes it
(never a native JSON type: those normalise numbers and refuse `\\u0000`). Columns are in the order of the row types in
`app.domain`, which document them; `app.state.rows` checks the order at import.
"""

from __future__ import annotations

from app.state.schema.access import api_keys, audit, held_ids, namespaces, sessions, tokens
from app.state.schema.columns import metadata
from app.state.schema.service import (
    events,
    idempotency,
    meta,
    nodes,
    registrations,
    resources,
    skills,
    webhook_messages,
    webhooks,
)
from app.state.schema.work import (
    answer_links,
    attempts,
    handles,
    late_results,
    outputs,
    questions,
    task_labels,
    tasks,
    usage,
)

__all__ = [
    "answer_links",
    "api_keys",
    "attempts",
    "audit",
    "events",
    "handles",
    "held_ids",
    "idempotency",
    "late_results",
    "meta",
    "metadata",
    "namespaces",
    "nodes",
    "outputs",
    "questions",
    "registrations",
    "resources",
    "sessions",
    "skills",
    "task_labels",
    "tasks",
    "tokens",
    "usage",
    "webhook_messages",
    "webhooks",
]
