"""The counts of each minute and namespace: what happened in it, and how things stood at its beginning."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from typing import Any, NamedTuple

import sqlalchemy as sa

from app.domain.clock import Instant
from app.domain.events import Event, EventKind
from app.domain.questions import QuestionStatus
from app.state import schema
from app.state.observed import minutes
from app.state.state import State
from app.state.statements import Connection, Statement

MINUTE_MS = 60_000
KEPT_MINUTES = 24 * 60
"""How many minutes are kept."""

COUNTED = {
    EventKind.TASK_CREATED: "created",
    EventKind.TASK_ATTEMPT_STARTED: "started",
    EventKind.TASK_PASS: "passed",
    EventKind.TASK_BLOCKED: "blocked",
    EventKind.TASK_CANCELLED: "cancelled",
}

_M, _T, _A, _Q = minutes.c, schema.tasks.c, schema.attempts.c, schema.questions.c
_TASKS = Statement(
    sa.select(_T.namespace, _T.status, sa.func.count())
    .where(_T.status.in_(["pending", "running", "suspended"]))
    .group_by(_T.namespace, _T.status)
)
_QUEUED = Statement(
    sa.select(_A.namespace, sa.func.count())
    .where(sa.text("phase = 'queued' AND paused_at IS NULL"))
    .group_by(_A.namespace)
)
_OPEN = Statement(
    sa.select(_Q.namespace, sa.func.count(), sa.func.min(_Q.asked_at))
    .where(_Q.status == QuestionStatus.OPEN.value)
    .group_by(_Q.namespace)
)
_OLD = Statement(sa.delete(minutes).where(_M.at < sa.bindparam("before")))
_SINCE = Statement(
    sa.select(*(column for column in _M if column.name != "namespace"))
    .where(_M.namespace == sa.bindparam("of_namespace"), _M.at >= sa.bindparam("since"), _M.at < sa.bindparam("until"))
    .order_by(_M.at)
)

Sample = dict[int, dict[str, int]]
"""How things stand, by namespace and gauge."""


class Minute(NamedTuple):
    """One minute of a namespace, from the instant `at`."""

    at: Instant
    created: int = 0
    started: int = 0
    passed: int = 0
    blocked: int = 0
    cancelled: int = 0
    pending: int = 0
    running: int = 0
    suspended: int = 0
    queued: int = 0
    open_questions: int = 0
    oldest_question_at: Instant | None = None


def beginning(at: Instant) -> Instant:
    """Return when the minute of an instant began."""
    return at - at % MINUTE_MS


def add(state: State, events: Iterable[Event]) -> None:
    """Count these events, each in its minute and namespace."""
    found: dict[tuple[int, int], Counter[str]] = {}
    for event in events:
        name = COUNTED.get(event.kind)  # pyright: ignore[reportArgumentType] - a kind is its own text
        if name is not None:
            found.setdefault((event.namespace, beginning(event.at)), Counter())[name] += 1
    for (namespace, at), counts in sorted(found.items()):
        _upsert(state.db, namespace, at, counts, "minutes.{0} + excluded.{0}")


def sample(state: State) -> Sample:
    """Return how things stand in each namespace in which there is anything."""
    found: Sample = {}
    for namespace, status, count in _TASKS.query(state.db):
        found.setdefault(namespace, {})[status] = count
    for namespace, count in _QUEUED.query(state.db):
        found.setdefault(namespace, {})["queued"] = count
    for namespace, count, oldest in _OPEN.query(state.db):
        found.setdefault(namespace, {}).update(open_questions=count, oldest_question_at=oldest)
    return found


def record(state: State, found: Sample, at: Instant) -> None:
    """Record how things stood at the beginning of a minute, and forget the minutes that are no longer kept."""
    for namespace, gauges in sorted(found.items()):
        _upsert(state.db, namespace, at, gauges, "excluded.{0}")
    _OLD.change(state.db, before=at - KEPT_MINUTES * MINUTE_MS)


def latest(state: State, namespace: int, count: int) -> list[Minute]:
    """Return the latest `count` whole minutes, oldest first; one in which there was nothing has zeros."""
    until = beginning(state.now)
    since = until - count * MINUTE_MS
    found = {row[0]: Minute(*row) for row in _SINCE.query(state.db, of_namespace=namespace, since=since, until=until)}
    return [found.get(at) or Minute(at) for at in range(since, until, MINUTE_MS)]


def _upsert(db: Connection, namespace: int, at: Instant, values: dict[str, Any], merged: str) -> None:
    names = sorted(values)
    place = "?" if db.dialect == "sqlite" else "%s"
    sets = ", ".join(f"{name} = {merged.format(name)}" for name in names)
    db.change(
        f"INSERT INTO minutes (namespace, at, {', '.join(names)}) VALUES ({', '.join([place] * (len(names) + 2))})"  # noqa: S608 - names of columns
        f" ON CONFLICT (namespace, at) DO UPDATE SET {sets}",
        (namespace, at, *(values[name] for name in names)),
    )
