"""The offset of a database's cursors: it keeps them growing when a database moves to another PostgreSQL cluster.

A cursor is made of the id of its transaction and of this offset, since another cluster may count its transactions from
a lower number.
"""

from __future__ import annotations

from app.domain.clock import Instant
from app.domain.ids import IdSource
from app.state import feed
from app.state.health_check import last_checked_at
from app.state.postgres.connection import PostgresConnection
from app.state.statements import Connection
from app.state.tables import get_meta, set_meta

_OFFSET = "feed_offset"
_HIGHEST = "feed_highest"
_HISTORY = "feed_history"
_NEWEST = "SELECT (SELECT max(cursor) FROM events), pg_snapshot_xmax(pg_current_snapshot())::text::bigint"
"""The newest cursor and a transaction id above it, of one snapshot: other nodes append meanwhile, and what they commit
may be of transactions later than the one that asks."""
LOCK_TIMEOUT_MS = 5_000
_MARGIN = 1_000_000
"""Transaction ids that the old cluster may have used after the copy was made; clients may hold their cursors."""


def leap_cursors(url: str, age_s: float) -> None:
    """Let cursors go on above all that were issued since a copy of the database was made, `age_s` seconds ago.

    Raises StoreUnavailable.
    """
    db = PostgresConnection(url, IdSource(), lock_timeout_ms=LOCK_TIMEOUT_MS)
    try:
        db.begin()
        _leap(db, age_s)
        db.commit()
    finally:
        db.close()


def _leap(db: Connection, age_s: float) -> None:
    newest = db.query("SELECT max(cursor) FROM events", ())[0][0]
    highest = max(int(get_meta(db, _HIGHEST, lock=True) or 0), (newest or 0) // feed.SLOTS_PER_TRANSACTION)
    since = round((age_s + feed.RESTORE_MARGIN_S) * feed.TRANSACTIONS_PER_S)
    set_meta(db, _HIGHEST, str(highest + since))


def settle_feed_offset(db: Connection, now: Instant) -> int:
    """Return the offset for this database in this cluster, after increasing it when necessary.

    A database of another history (a dump that was loaded by hand, a recovery to a point in time, a standby that was
    promoted) goes on above every cursor that may have been issued since the copy was made.
    """
    history, known = _history(db), get_meta(db, _HISTORY)
    checked_at = last_checked_at(db)
    if known not in (None, history) and checked_at is not None:
        _leap(db, max(0, now - checked_at) / 1000)
    set_meta(db, _HISTORY, history)
    offset = int(get_meta(db, _OFFSET, lock=True) or 0)
    newest, next_id = db.query(_NEWEST, ())[0]
    highest = max(int(get_meta(db, _HIGHEST) or 0), (newest or 0) // feed.SLOTS_PER_TRANSACTION)
    if next_id + offset <= highest:
        offset = highest + _MARGIN - next_id
        set_meta(db, _OFFSET, str(offset))
    set_meta(db, _HIGHEST, str(next_id - 1 + offset))
    return offset


def _history(db: Connection) -> str:
    """Return what names the history of the cluster's data: its identifier, where it may be read, and its timeline."""
    timeline = db.query("SELECT substr(pg_walfile_name(pg_current_wal_lsn()), 1, 8)", ())[0][0]
    readable = db.query("SELECT has_function_privilege('pg_control_system()', 'execute')", ())[0][0]
    identifier = db.query("SELECT system_identifier FROM pg_control_system()", ())[0][0] if readable else ""
    return f"{identifier}/{timeline}"
