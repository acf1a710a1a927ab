"""The durable event feed and its cursors: a reader that pages through it never skips an event.

SQLite has one writer, so row ids are in commit order. PostgreSQL commits in any order: there a cursor combines the
transaction's id with the event's slot in the transaction, and readers stop before the oldest transaction that is still
open (`pg_snapshot_xmin`). `feed_offset` keeps cursors growing when a database is restored into a cluster with smaller
transaction ids.
"""

from __future__ import annotations

from typing import Any

from app.domain.events import Event
from app.domain.json import Json
from app.domain.namespaces import ALL_ID
from app.state.statements import Connection

SLOTS_PER_TRANSACTION = 65_536
"""How many events one transaction can append on PostgreSQL."""

RESTORE_MARGIN_S = 3600
EVENTS_PER_S = 100_000
TRANSACTIONS_PER_S = 5_000
"""More than a server appends, and a PostgreSQL cluster begins, on average. A restored database goes on above every
cursor that may have been issued, at these rates, since the copy was made or an hour before."""

_COLUMNS = "cursor, kind, at, task_id, session_id, attempt, data, namespace"
_HORIZON = f"(pg_snapshot_xmin(pg_current_snapshot())::text::bigint + %s) * {SLOTS_PER_TRANSACTION}"

Cells = tuple[str, int, str | None, str | None, int | None, str | None, int]
"""An event about to be appended: kind, at, task id, session id, attempt, data, namespace."""

SEARCHED = 100_000
"""How many of the server's latest events are searched for those of one namespace."""

COUNTED = 10_000
"""How many unread events are counted at most."""

_MOST_AT_ONCE = 16


def _sqlite_append(count: int) -> str:
    rows = ", ".join(["(?, ?, ?, ?, ?, ?, ?)"] * count)
    return f"INSERT INTO events (kind, at, task_id, session_id, attempt, data, namespace) VALUES {rows}"  # noqa: S608 - constants


def _postgres_append(count: int) -> str:
    row = f"((pg_current_xact_id()::text::bigint + %s) * {SLOTS_PER_TRANSACTION} + %s, %s, %s, %s, %s, %s, %s, %s)"
    return f"INSERT INTO events ({_COLUMNS}) VALUES {', '.join([row] * count)} RETURNING cursor"  # noqa: S608 - constants


_SQLITE_APPEND = [_sqlite_append(count) for count in range(_MOST_AT_ONCE + 1)]
_POSTGRES_APPEND = [_postgres_append(count) for count in range(_MOST_AT_ONCE + 1)]


def append(db: Connection, events: list[Cells]) -> tuple[int, int]:
    """Append the events of one transaction, in order; return the cursors of the first and the last."""
    cursors: list[int] = []
    for start in range(0, len(events), _MOST_AT_ONCE):
        some = events[start : start + _MOST_AT_ONCE]
        args: list[Any] = []
        if db.dialect == "sqlite":
            for cells in some:
                args += cells
            db.change(_SQLITE_APPEND[len(some)], tuple(args))
            cursors += (db.last_row_id - len(some) + 1, db.last_row_id)
        else:
            for slot, cells in enumerate(some, start):
                args += (db.feed_offset, slot, *cells)
            cursors += (row[0] for row in db.query(_POSTGRES_APPEND[len(some)], tuple(args)))
    return min(cursors), max(cursors)


def page(db: Connection, after: int, limit: int, task_id: str | None = None) -> list[Event]:
    """Return up to `limit` events after a cursor, oldest first, none later than one that may still be committed."""
    placeholder = "?" if db.dialect == "sqlite" else "%s"
    where, args = f"cursor > {placeholder}", [after]
    if task_id is not None:
        where, args = f"{where} AND task_id = {placeholder}", [*args, task_id]
    if db.dialect == "postgresql":
        where, args = f"{where} AND cursor < {_HORIZON}", [*args, db.feed_offset]
    sql = f"SELECT {_COLUMNS} FROM events WHERE {where} ORDER BY cursor LIMIT {placeholder}"  # noqa: S608 - constants
    return [_event(row) for row in db.query(sql, (*args, limit))]


def head(db: Connection) -> int:
    """Return the cursor of the feed's end: every future event comes after it."""
    if db.dialect == "sqlite":
        rows = db.query("SELECT seq FROM sqlite_sequence WHERE name = 'events'", ())
        return int(rows[0][0]) if rows else 0
    return int(db.query(f"SELECT {_HORIZON} - 1", (db.feed_offset,))[0][0])


def unread(db: Connection, after: int) -> tuple[int, int | None]:
    """Return how many committed events follow a cursor, and when the oldest happened (None without one).

    On PostgreSQL also those which readers may not see yet since an older transaction is still open. Counts `COUNTED`
    at most.
    """
    placeholder = "?" if db.dialect == "sqlite" else "%s"
    latest = f"SELECT at FROM events WHERE cursor > {placeholder} ORDER BY cursor LIMIT {COUNTED}"  # noqa: S608 - constants
    count, oldest_at = db.query(f"SELECT count(*), min(at) FROM ({latest}) AS latest", (after,))[0]  # noqa: S608 - constants
    return count, oldest_at


def back(db: Connection, count: int, namespace: int = ALL_ID) -> int:
    """Return the cursor after which the latest `count` events follow, or fewer when there are no more.

    Of one namespace, with what everybody sees, it looks through the latest `SEARCHED` events.
    """
    if count == 0:
        return head(db)
    placeholder = "?" if db.dialect == "sqlite" else "%s"
    latest, args = "SELECT cursor FROM events", (count,)
    if namespace != ALL_ID:
        recent = f"SELECT cursor, namespace FROM events ORDER BY cursor DESC LIMIT {SEARCHED}"  # noqa: S608 - constants
        latest = f"SELECT cursor FROM ({recent}) AS recent WHERE namespace IN ({placeholder}, {ALL_ID})"  # noqa: S608 - constants
        args = (namespace, count)
    sql = f"SELECT min(cursor) FROM ({latest} ORDER BY cursor DESC LIMIT {placeholder}) AS latest"  # noqa: S608 - constants
    found = db.query(sql, args)[0][0]
    return head(db) if found is None else int(found) - 1


def _event(row: tuple[Any, ...]) -> Event:
    cursor, kind, at, task_id, session_id, attempt, data, namespace = row
    return Event(
        cursor=cursor,
        kind=kind,
        at=at,
        task_id=task_id,
        session_id=session_id,
        attempt=attempt,
        data=Json(data) if data is not None else None,
        namespace=namespace,
    )
