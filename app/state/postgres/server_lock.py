"""One server per PostgreSQL database: an advisory lock of a session that does nothing else.

The lock ends with the session, and the session with the server, however that ends: when the server's host dies, as
soon as PostgreSQL has heard nothing from it for so long as `Silence` says. Should only the session end, its loss is
seen at once (the socket is watched) and the store stops until it has the lock again.

The time that a server holds the lock is its *reign*. Every other session of the server carries its name, and begins
with a look whether it lasts; who takes the lock first ends the sessions of every other reign. So a server that was cut
off and replaced, and does not know it yet, can commit nothing any more.
"""

from __future__ import annotations

import time

from app.domain.errors import StoreUnavailable
from app.state.postgres.connection import PostgresConnection

_KEY = 0x5357_4152_4D
_PREFIX = "swarmhold server "
_PAUSE_SECONDS = 0.05

_TAKE = "SELECT pg_try_advisory_lock(%s)"
_HELD = (
    "FROM pg_locks l JOIN pg_stat_activity a USING (pid) "
    "WHERE l.locktype = 'advisory' AND l.granted AND l.objid = (%s & 4294967295)::oid "
    "AND l.database = (SELECT oid FROM pg_database WHERE datname = current_database())"
)
_HOLDER = f"SELECT a.pid, coalesce(host(a.client_addr), 'a local socket') {_HELD}"
# A process id comes again; together with the moment of its start it does not.
_NAME = "(a.pid || '.' || floor(extract(epoch FROM a.backend_start) * 1000000)::text)"
_OWN_NAME = f"SELECT {_NAME} FROM pg_stat_activity a WHERE a.pid = pg_backend_pid()"  # noqa: S608 - constants alone
_LASTS = f"SELECT count(*) {_HELD} AND {_NAME} = %s"
_JOIN = "SELECT set_config('application_name', %s, false)"
_END_REIGN = f"SELECT pg_terminate_backend(a.pid) FROM pg_stat_activity a WHERE {_NAME} = %s"  # noqa: S608 - as above
_END_OTHERS = (
    "SELECT pg_terminate_backend(a.pid) FROM pg_stat_activity a WHERE a.datname = current_database() "
    "AND a.usename = current_user AND starts_with(a.application_name, %s) AND a.application_name <> %s"
)


def take_server_lock(db: PostgresConnection, *, patience_seconds: float, previous: str | None = None) -> str:
    """Hold the lock on this connection, and name the reign that begins. `previous` is this server's own last one.

    Blocks up to `patience_seconds` for a server that is just ending. Raises StoreUnavailable that says where the other
    server connects from.
    """
    deadline = time.monotonic() + patience_seconds
    if previous is not None:
        # Its end may not have reached PostgreSQL, which would hold the lock against us.
        db.query(_END_REIGN, (previous,))
    while not db.query(_TAKE, (_KEY,))[0][0]:
        if time.monotonic() >= deadline:
            raise StoreUnavailable(
                f"another server is using this database{_describe_holder(db)}; stop it first. If its host has died, "
                f"PostgreSQL gives it up after {db.silence.limit.total_seconds():g} s"
            )
        time.sleep(_PAUSE_SECONDS)
    reign: str = db.query(_OWN_NAME, ())[0][0]
    while db.query(_END_OTHERS, (_PREFIX, _PREFIX + reign)):
        if time.monotonic() >= deadline:
            raise StoreUnavailable("sessions of the server that had this database before do not end")
        time.sleep(_PAUSE_SECONDS)
    return reign


def join_reign(db: PostgresConnection, reign: str) -> bool:
    """Give a connection the name of the reign; whether that reign still lasts."""
    # In this order: whoever takes the lock after the look will find the name.
    db.query(_JOIN, (_PREFIX + reign,))
    return db.query(_LASTS, (_KEY, reign))[0][0] > 0


def _describe_holder(db: PostgresConnection) -> str:
    rows = db.query(_HOLDER, (_KEY,))
    return f" (PostgreSQL session {rows[0][0]}, from {rows[0][1]})" if rows else ""
