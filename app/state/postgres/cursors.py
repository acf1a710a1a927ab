"""The offset of a database's cursors: it keeps them growing when a database moves to another PostgreSQL cluster.

A cursor is made of the id of its transaction and of this offset, since another cluster may count its transactions from
a lower number.
"""

from __future__ import annotations

from app.domain.ids import IdSource
from app.state import feed
from app.state.postgres.connection import PostgresConnection
from app.state.statements import Connection
from app.state.tables import get_meta, set_meta

_OFFSET = "feed_offset"
_HIGHEST = "feed_highest"
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


def settle_feed_offset(db: Connection) -> int:
    """Return the offset for this database in this cluster, after increasing it when necessary."""
    offset = int(get_meta(db, _OFFSET, lock=True) or 0)
    newest = db.query("SELECT max(cursor) FROM events", ())[0][0]
    highest = max(int(get_meta(db, _HIGHEST) or 0), (newest or 0) // feed.SLOTS_PER_TRANSACTION)
    present = int(db.query("SELECT pg_current_xact_id()::text::bigint", ())[0][0])
    if present + offset <= highest:
        offset = highest + _MARGIN - present
        set_meta(db, _OFFSET, str(offset))
    set_meta(db, _HIGHEST, str(present + offset))
    return offset
