"""Tasks by how long they took: from their first dispatch until they were settled, or until now.

Nothing is stored for it, and no index kept: of the newest tasks that fit a filter so many are looked at, beside the
loop. A page goes on behind the last duration of the page before, at the same instant, so that none is left out or
comes twice while tasks run on.
"""

from __future__ import annotations

import re
from typing import Any, Literal, NamedTuple, cast

import sqlalchemy as sa

from app.domain.clock import Instant
from app.domain.errors import InvalidRequest
from app.domain.ids import first_id, is_id
from app.domain.json import Json
from app.engine.ops import task_filters
from app.engine.ops.task_filters import TaskFilter
from app.state import schema
from app.state.state import State
from app.state.statements import Statement

LOOKED_AT = 10_000
"""The newest tasks that fit a filter, among which the longest or shortest are found."""

Order = Literal["longest", "shortest"]

_T, _A = schema.tasks.c, schema.attempts.c
_POSITION = re.compile(r"([0-9]{1,15})\.([0-9]{1,15})\.(T-.{26})")
_STARTS = {
    # Written as a cross join, each task is looked up; SQLite would rather read the whole table.
    "sqlite": "SELECT value, started_at FROM json_each(?) CROSS JOIN attempts ON task_id = value AND attempt = 1",
    "postgresql": "SELECT task_id, started_at FROM attempts"
    " WHERE task_id = ANY (ARRAY(SELECT json_array_elements_text(%s::json))) AND attempt = 1",
}


class Position(NamedTuple):
    """A place in a list: durations at the instant `at`, behind the task `id` that had taken `took` milliseconds."""

    at: Instant
    took: int
    id: str

    def spelled(self) -> str:
        """Return the cursor."""
        return f"{self.at}.{self.took}.{self.id}"


def starts(state: State, ids: list[str]) -> dict[str, Instant]:
    """Return when these tasks were dispatched first; one that never was is left out."""
    return dict(state.db.query(_STARTS[state.db.dialect], (Json.of(ids).text,))) if ids else {}


def ordered(
    state: State, namespace: int, wanted: TaskFilter, order: Order, *, most: int, cursor: str | None
) -> list[Position]:
    """Return the places of the next tasks, `most` at most. One that was never dispatched took no time and has none.

    Raises InvalidRequest.
    """
    given = task_filters.parameters(state, namespace, wanted)
    behind = None if cursor is None else _read(cursor)
    at = state.now if behind is None else behind.at
    key = (frozenset(given), order, behind is not None)
    statement = _STATEMENTS.get(key)
    if statement is None:
        statement = _STATEMENTS[key] = _statement(list(given), order, goes_on=behind is not None)
    last: dict[str, Any] = {} if behind is None else {"last_took": behind.took, "last_id": behind.id}
    rows = statement.query(state.db, **given, **last, at=at, until=first_id("T", at + 1), most=most)
    return [Position(at, took, id) for id, took in rows]


_STATEMENTS: dict[tuple[frozenset[str], str, bool], Statement] = {}


def _statement(names: list[str], order: Order, *, goes_on: bool) -> Statement:
    newest = sa.select(_T.id, _T.settled_at).where(*task_filters.conditions(names), _T.id < sa.bindparam("until"))
    some = newest.order_by(_T.id.desc()).limit(LOOKED_AT).subquery("newest")
    at = sa.cast(sa.bindparam("at"), sa.BigInteger)
    took: Any = sa.case((some.c.settled_at < at, some.c.settled_at), else_=at) - _A.started_at
    first = sa.and_(_A.task_id == some.c.id, _A.attempt == sa.literal_column("1"))
    found = sa.select(some.c.id, took.label("took")).select_from(some.join(schema.attempts, first))
    timed = found.where(_A.started_at <= at).subquery("timed")
    rows = sa.select(timed.c.id, timed.c.took)
    if goes_on:
        last = cast(Any, sa.bindparam("last_took"))
        beyond = timed.c.took < last if order == "longest" else timed.c.took > last
        rows = rows.where(sa.or_(beyond, sa.and_(timed.c.took == last, timed.c.id < sa.bindparam("last_id"))))
    by: Any = timed.c.took.desc() if order == "longest" else timed.c.took
    return Statement(rows.order_by(by, timed.c.id.desc()).limit(sa.bindparam("most")))


def _read(cursor: str) -> Position:
    found = _POSITION.fullmatch(cursor)
    if found is None or not is_id(found[3], "T"):
        raise InvalidRequest("not a cursor of this list", "cursor")
    return Position(int(found[1]), int(found[2]), found[3])
