"""One server per PostgreSQL database: an advisory lock of a session that does nothing else.

The lock ends with the session, and the session with the server, however that ends. Should only the session end, its
loss is seen at once (the socket is watched) and the store stops until it has the lock again.
"""

from __future__ import annotations

import time

from app.domain.errors import StoreUnavailable
from app.state.postgres_connection import PostgresConnection

_KEY = 0x5357_4152_4D
_TAKE = "SELECT pg_try_advisory_lock(%s)"
_HOLDER = (
    "SELECT a.pid, coalesce(host(a.client_addr), 'a local socket') FROM pg_locks l JOIN pg_stat_activity a USING (pid) "
    "WHERE l.locktype = 'advisory' AND l.granted AND l.objid = (%s & 4294967295)::oid "
    "AND l.database = (SELECT oid FROM pg_database WHERE datname = current_database())"
)
_PAUSE_SECONDS = 0.05


def take_server_lock(db: PostgresConnection, *, patience_seconds: float) -> None:
    """Hold the lock on this connection. Blocks up to `patience_seconds` for a server that is just ending.

    Raises StoreUnavailable that says where the other server connects from.
    """
    deadline = time.monotonic() + patience_seconds
    while not db.query(_TAKE, (_KEY,))[0][0]:
        if time.monotonic() >= deadline:
            raise StoreUnavailable(f"another server is using this database{_describe_holder(db)}; stop it first")
        time.sleep(_PAUSE_SECONDS)


def _describe_holder(db: PostgresConnection) -> str:
    rows = db.query(_HOLDER, (_KEY,))
    return f" (PostgreSQL session {rows[0][0]}, from {rows[0][1]})" if rows else ""
