"""The lock that lets one server use a PostgreSQL database: an advisory lock held by a session of its own.

PostgreSQL releases the lock when the session ends, and the session ends with the server: at once when its process
dies, after the keepalive timeout when its host does. When only the session ends, the store notices at once (it watches
the socket) and stops until it has the lock again.

The time during which a server holds the lock is a *lock term*. Every other session of the server is named after the
term and starts by checking that the term lasts; a server that takes the lock first ends the sessions of all other
terms. So a server that was cut off and replaced without noticing cannot commit anything any more.
"""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Callable
from typing import Any

import structlog

from app.domain.errors import StoreUnavailable
from app.state.postgres.connection import CommitUnknown, ConnectionLost, Contended, PostgresConnection
from app.state.worker_threads import WorkerThreads

_CLOSED = "the store is closed"
_GONE = "this server has lost its lock on the database"
_TAKE_TIMEOUT_SECONDS = 3.0
_RETRY_PAUSE_SECONDS = 0.25

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

_log: Any = structlog.get_logger(__name__)


class ServerLock:
    """The lock of one server: taken, watched while it lasts, and taken again when it is lost.

    `connect` opens a connection. `prepare` is called with a connection that has just got the lock, on another thread;
    what it raises gives the lock up. `on_regained` is called on the event loop when the lock was lost and taken again,
    before operations are admitted.
    """

    def __init__(
        self,
        connect: Callable[[], PostgresConnection],
        *,
        prepare: Callable[[PostgresConnection], None],
        on_regained: Callable[[], None],
    ) -> None:
        self._new_connection = connect
        self._prepare = prepare
        self._on_regained = on_regained
        self._session: PostgresConnection | None = None
        self._term: str | None = None
        self._watched: int | None = None
        self._outage: str | None = _CLOSED
        self._closing = False
        self._recovery: asyncio.Task[None] | None = None

    async def take(self) -> None:
        """Take the lock, and take it again whenever it is lost. Raises StoreUnavailable."""
        self._closing = False
        self._loop = asyncio.get_running_loop()
        self._thread = WorkerThreads("swarmhold-postgres-setup", self._loop)
        try:
            await self._thread.run(self._take)
        except BaseException:
            await self.release()
            raise
        self._begin_term()

    async def refuse(self) -> None:
        """Refuse operations from now on, and do not take the lock again."""
        self._closing = True
        self._outage = _CLOSED
        if self._recovery is not None:
            self._recovery.cancel()
            await asyncio.wait([self._recovery])
            self._recovery = None

    async def release(self) -> None:
        """Give the lock up. Safe to call without it."""
        self._stop_watching()
        await self._thread.stop()
        if self._session is not None:
            self._session.close()
            self._session = None

    def check(self) -> None:
        """Raise StoreUnavailable while the lock is not held."""
        if self._outage is not None:
            raise StoreUnavailable(self._outage)

    def connect(self) -> PostgresConnection:
        """Open a connection that can commit only while the lock is held. Raises ConnectionLost without it.

        Blocks; may be called on any thread.
        """
        session, term = self._session, self._term
        if session is None or term is None:
            raise ConnectionLost(_GONE)
        db = self._new_connection()
        try:
            lasts = join_lock_term(db, term)
        except BaseException:
            db.close()
            raise
        if not lasts:
            db.close()
            self._loop.call_soon_threadsafe(self._lose, session, _GONE)
            raise ConnectionLost(_GONE)
        return db

    def _take(self) -> None:
        """Open a session, take the lock in it, and prepare the database; on the setup thread."""
        db = self._new_connection()
        try:
            self._term = take_server_lock(db, timeout_seconds=_TAKE_TIMEOUT_SECONDS, previous_term=self._term)
            self._prepare(db)
        except (Contended, ConnectionLost, CommitUnknown) as error:
            db.close()
            raise StoreUnavailable(f"PostgreSQL: {error}") from error
        except BaseException:
            db.close()
            raise
        self._session = db

    def _begin_term(self) -> None:
        """Admit operations, and watch the session that has the lock."""
        assert self._session is not None  # noqa: S101 - `_take` has just succeeded
        self._outage = None
        self._watched = self._session.duplicate_socket()
        self._loop.add_reader(self._watched, self._on_readable, self._session)

    def _stop_watching(self) -> None:
        if self._watched is not None:
            self._loop.remove_reader(self._watched)
            os.close(self._watched)
            self._watched = None

    def _on_readable(self, session: PostgresConnection) -> None:
        """Read what PostgreSQL sent to the session unasked: most likely its end."""
        try:
            session.consume()
        except ConnectionLost as error:
            self._lose(session, str(error))

    def _lose(self, session: PostgresConnection, reason: str) -> None:
        """Refuse operations until the lock is taken again. Nothing when this session was replaced already."""
        if self._session is not session:
            return
        self._stop_watching()
        if self._closing:
            return
        self._outage = f"PostgreSQL: {reason}"
        session.close()
        self._session = None
        self._recovery = self._loop.create_task(self._recover())
        _log.warning("server_lock_lost", error=reason)

    async def _recover(self) -> None:
        """Take the lock again as soon as possible."""
        while self._session is None:
            try:
                await self._thread.run(self._take)
            except StoreUnavailable as error:
                self._outage = error.reason
                await asyncio.sleep(_RETRY_PAUSE_SECONDS)
        self._on_regained()
        self._recovery = None
        self._begin_term()
        _log.warning("server_lock_taken_again")


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
