"""Lists, one page at a time: each reads an index, in the order of ids."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Generic, TypeVar

import sqlalchemy as sa

from app.domain.errors import InvalidRequest
from app.domain.ids import is_id
from app.domain.questions import Question, QuestionStatus
from app.domain.sessions import Session
from app.domain.tasks import Status, Task, TaskState
from app.engine.ops.tasks import view
from app.state import schema
from app.state.rows import Search
from app.state.state import State
from app.state.tables import QUESTIONS, SESSIONS, TASKS

T = TypeVar("T")
_T, _Q, _S, _L = schema.tasks.c, schema.questions.c, schema.sessions.c, schema.task_labels.c
_CONDITIONS = {
    "status": _T.status == sa.bindparam("of_status"),
    "agent": _T.agent == sa.bindparam("of_agent"),
    "parent": _T.parent_task_id == sa.bindparam("of_parent"),
    "session": _T.session_id == sa.bindparam("of_session"),
    "label": _T.id.in_(
        sa.select(_L.task_id).where(_L.name == sa.bindparam("of_name"), _L.value == sa.bindparam("of_value"))
    ),
    "cursor": _T.id < sa.bindparam("before"),
}
_SEARCHES: dict[frozenset[str], Search[Task]] = {}


@dataclass(frozen=True, slots=True)
class Page(Generic[T]):
    """One page of a list, and the cursor of the next one (None at the end)."""

    items: list[T]
    next_cursor: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskFilter:
    """Which tasks to list; a field that is None matches every task."""

    status: Status | None = None
    agent: str | None = None
    label: tuple[str, str] | None = None
    parent: str | None = None
    session: str | None = None


def _cut(items: list[T], limit: int, names: list[str]) -> Page[T]:
    """Return a page of at most `limit` of the up to `limit + 1` items that were found."""
    more = len(items) > limit
    return Page(items[:limit], names[limit - 1] if more else None)


def _check_cursor(cursor: str | None, prefix: str) -> None:
    if cursor is not None and not is_id(cursor, prefix):
        raise InvalidRequest("not a cursor of this list", "cursor")


def tasks(state: State, wanted: TaskFilter, *, limit: int, cursor: str | None) -> Page[TaskState]:
    """Return tasks, newest first."""
    _check_cursor(cursor, "T")
    values: dict[str, object] = {"limit": limit + 1}
    used: set[str] = set()
    for name in ("status", "agent", "parent", "session"):
        value = getattr(wanted, name)
        if value is not None:
            used.add(name)
            values[f"of_{name}"] = str(value)
    if wanted.label is not None:
        used.add("label")
        values |= {"of_name": wanted.label[0], "of_value": wanted.label[1]}
    if cursor is not None:
        used.add("cursor")
        values["before"] = cursor
    key = frozenset(used)
    search = _SEARCHES.get(key)
    if search is None:
        where = [_CONDITIONS[name] for name in sorted(used)]
        search = _SEARCHES[key] = TASKS.search(*where, order=(_T.id.desc(),), limit=True)
    found = [view(state, task) for task in search.all(state.db, **values)]
    return _cut(found, limit, [item.task.id for item in found])


_QUESTION_SEARCHES: dict[frozenset[str], Search[Question]] = {}
_QUESTION_CONDITIONS = {
    "status": _Q.status == sa.bindparam("of_status"),
    "bridge_id": _Q.bridge_id == sa.bindparam("of_bridge"),
    "task_id": _Q.task_id == sa.bindparam("of_task"),
    "cursor": _Q.key > sa.bindparam("behind"),
}


def questions(
    state: State,
    *,
    status: QuestionStatus | None,
    bridge_id: str | None,
    task_id: str | None,
    limit: int,
    cursor: str | None,
) -> Page[Question]:
    """Return questions, oldest first."""
    _check_cursor(cursor, "R")
    given = {
        "status": status.value if status else None,
        "bridge_id": bridge_id,
        "task_id": task_id,
        "cursor": cursor,
    }
    key = frozenset(name for name, value in given.items() if value is not None)
    search = _QUESTION_SEARCHES.get(key)
    if search is None:
        where = [_QUESTION_CONDITIONS[name] for name in sorted(key)]
        search = _QUESTION_SEARCHES[key] = QUESTIONS.search(*where, order=(_Q.key,), limit=True)
    found = search.all(
        state.db, limit=limit + 1, of_status=given["status"], of_bridge=bridge_id, of_task=task_id, behind=cursor
    )
    return _cut(found, limit, [question.key for question in found])


_SESSIONS = SESSIONS.search(_S.id < sa.bindparam("before"), order=(_S.id.desc(),), limit=True)


def sessions(state: State, *, limit: int, cursor: str | None) -> Page[Session]:
    """Return sessions, newest first, without their tokens."""
    _check_cursor(cursor, "S")
    found = _SESSIONS.all(state.db, before=cursor or "S-~", limit=limit + 1)
    return _cut(found, limit, [session.id for session in found])
