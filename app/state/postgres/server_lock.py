"""The lock that lets one server use a PostgreSQL database: an advisory lock held by a session of its own.

PostgreSQL releases the lock when the session ends, and the session ends with the server: at once when its process
dies, after the keepalive timeout when its host does. When only the session ends, the store notices at once (it watches
the socket) and stops until it has the lock again.

The time during which a server holds the lock is a *lock term*. Every other session of the server is named after the
term and starts by checking that the term lasts; a server that takes the lock first ends the sessions of all other
terms. So a server that was cut off and replaced without noticing cannot commit anything any more.
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
# The term is named after its session; process ids are reused, but not together with the instant of their start.
_TERM = "(a.pid || '.' || floor(extract(epoch FROM a.backend_start) * 1000000)::text)"
_OWN_TERM = f"SELECT {_TERM} FROM pg_stat_activity a WHERE a.pid = pg_backend_pid()"  # noqa: S608 - constants alone
_TERM_LASTS = f"SELECT count(*) {_HELD} AND {_TERM} = %s"
_SET_NAME = "SELECT set_config('application_name', %s, false)"
_END_TERM = f"SELECT pg_terminate_backend(a.pid) FROM pg_stat_activity a WHERE {_TERM} = %s"  # noqa: S608 - as above
_END_OTHER_TERMS = (
    "SELECT pg_terminate_backend(a.pid) FROM pg_stat_activity a WHERE a.datname = current_database() "
    "AND a.usename = current_user AND starts_with(a.application_name, %s) AND a.application_name <> %s"
)


def take_server_lock(db: PostgresConnection, *, timeout_seconds: float, previous_term: str | None = None) -> str:
    """Take the lock on this connection and return the name of the lock term that begins.

    `previous_term` is this server's own last one, whose session PostgreSQL may still consider alive. Blocks up to
    `timeout_seconds` for a server that is just ending. Raises StoreUnavailable naming where the other server connects
    from.
    """
    deadline = time.monotonic() + timeout_seconds
    if previous_term is not None:
        db.query(_END_TERM, (previous_term,))
    while not db.query(_TAKE, (_KEY,))[0][0]:
        if time.monotonic() >= deadline:
            raise StoreUnavailable(
                f"another server is using this database{_describe_holder(db)}; stop it first. If its host has died, "
                f"PostgreSQL releases the lock after {db.keepalive.timeout.total_seconds():g} s"
            )
        time.sleep(_PAUSE_SECONDS)
    term: str = db.query(_OWN_TERM, ())[0][0]
    while db.query(_END_OTHER_TERMS, (_PREFIX, _PREFIX + term)):
        if time.monotonic() >= deadline:
            raise StoreUnavailable("sessions of the server that used this database before do not end; try again later")
        time.sleep(_PAUSE_SECONDS)
    return term


def join_lock_term(db: PostgresConnection, term: str) -> bool:
    """Name a connection after a lock term; return whether that term still lasts."""
    # In this order: a server that takes the lock after the check finds the name and ends this session.
    db.query(_SET_NAME, (_PREFIX + term,))
    return db.query(_TERM_LASTS, (_KEY, term))[0][0] > 0


def _describe_holder(db: PostgresConnection) -> str:
    rows = db.query(_HOLDER, (_KEY,))
    return f" (PostgreSQL session {rows[0][0]}, from {rows[0][1]})" if rows else ""
