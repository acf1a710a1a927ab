"""The sessions of one node in a PostgreSQL database: named after the node, and refused once it was declared dead.

A node keeps one session open and watches its socket: when it ends (PostgreSQL restarts, another server of it takes
over), the store stops at once and goes on when there is a session again. Every other session is named after the node
and starts by checking that the node was not declared dead; who declares a node dead then ends all sessions of its
name. So a node that was cut off or stopped, and replaced without noticing, cannot commit anything any more.

The watched session shares an advisory lock with those of all other nodes. Servers of versions before there were nodes
want it for themselves: neither they nor these start while the others run.
"""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

import structlog

from app.domain.clock import Instant
from app.domain.errors import StoreUnavailable
from app.state.postgres.connection import CommitUnknown, ConnectionLost, Contended, PostgresConnection
from app.state.worker_threads import WorkerThreads

R = TypeVar("R")

_CLOSED = "the store is closed"
_GONE = "this node has no session in the database now"
_FENCED = "this node gave no heartbeat within its lease and was replaced; it joins again"
_OPEN_TIMEOUT_SECONDS = 3.0
_END_TIMEOUT_SECONDS = 10.0
_RETRY_PAUSE_SECONDS = 0.25
_PAUSE_SECONDS = 0.05

_KEY = 0x5357_4152_4D
_PREFIX = "swarmhold node "

_SHARE = "SELECT pg_try_advisory_lock_shared(%s)"
_HOLDER = (
    "SELECT a.pid, coalesce(host(a.client_addr), 'a local socket') FROM pg_locks l JOIN pg_stat_activity a USING (pid) "
    "WHERE l.locktype = 'advisory' AND l.granted AND l.objid = (%s & 4294967295)::oid AND l.mode = 'ExclusiveLock' "
    "AND l.database = (SELECT oid FROM pg_database WHERE datname = current_database())"
)
_SET_NAME = "SELECT set_config('application_name', %s, false)"
_IS_ALIVE = "SELECT count(*) FROM nodes WHERE id = %s AND dead_at IS NULL"
_OF_NODES = "a.datname = current_database() AND a.usename = current_user AND a.application_name = %s"
_END = f"SELECT pg_terminate_backend(a.pid) FROM pg_stat_activity a WHERE {_OF_NODES}"  # noqa: S608 - constants alone
_COUNT = f"SELECT count(*) FROM pg_stat_activity a WHERE {_OF_NODES}"  # noqa: S608 - constants alone
_STARTED_AT = "SELECT (extract(epoch FROM pg_postmaster_start_time()) * 1000)::bigint"

_log: Any = structlog.get_logger(__name__)


class NodeSessions:
    """Opens the sessions of a store, and knows whether it may be used.

    `connect` opens a connection. `prepare` is called with a connection that becomes the watched one, on another thread;
    what it raises closes it again. `on_renewed` is called on the event loop when the watched session was lost and there
    is another, before operations are admitted.
    """

    def __init__(
        self,
        connect: Callable[[], PostgresConnection],
        *,
        prepare: Callable[[PostgresConnection], None],
        on_renewed: Callable[[], None],
    ) -> None:
        self._new_connection = connect
        self._prepare = prepare
        self._on_renewed = on_renewed
        self._session: PostgresConnection | None = None
        self._node: str | None = None
        self._fenced = False
        self._watched: int | None = None
        self._outage: str | None = _CLOSED
        self._closing = False
        self._in_use = asyncio.Lock()
        self._recovery: asyncio.Task[None] | None = None

    @property
    def fenced(self) -> bool:
        """Whether this node was declared dead; until `enter` is called again every operation is refused."""
        return self._fenced

    async def open(self) -> None:
        """Open the watched session, and another one whenever it is lost. Raises StoreUnavailable."""
        self._closing = False
        self._loop = asyncio.get_running_loop()
        self._thread = WorkerThreads("swarmhold-postgres-setup", self._loop)
        try:
            await self._thread.run(self._begin_session)
        except BaseException:
            await self.close()
            raise
        await self._admit()

    async def refuse(self) -> None:
        """Refuse operations from now on, and open no other session."""
        self._closing = True
        self._outage = _CLOSED
        if self._recovery is not None:
            self._recovery.cancel()
            await asyncio.wait([self._recovery])
            self._recovery = None

    async def close(self) -> None:
        """Close the watched session. Safe to call without one."""
        self._stop_watching()
        await self._thread.stop()
        self._node, self._fenced = None, False
        if self._session is not None:
            self._session.close()
            self._session = None

    def check(self) -> None:
        """Raise StoreUnavailable while the store cannot be used."""
        if self._outage is not None:
            raise StoreUnavailable(self._outage)
        if self._fenced:
            raise StoreUnavailable(_FENCED)

    async def enter(self, node: str | None) -> None:
        """Name all sessions after this node, which is registered, or after none. Raises StoreUnavailable."""
        self._node = node
        await self.use(lambda db: self._name(db, node))
        self._fenced = False

    def connect(self) -> PostgresConnection:
        """Open a connection that ends with this node. Raises ConnectionLost when the node has no session any more.

        Blocks; may be called on any thread.
        """
        if self._session is None or self._fenced:
            raise ConnectionLost(_FENCED if self._fenced else _GONE)
        node = self._node
        db = self._new_connection()
        try:
            alive = self._name(db, node)
        except BaseException:
            db.close()
            raise
        if not alive:
            db.close()
            self._fenced = True
            raise ConnectionLost(_FENCED)
        return db

    def _name(self, db: PostgresConnection, node: str | None) -> bool:
        """Name a session after the node; return whether that was not declared dead."""
        if node is None:
            db.query(_SET_NAME, (_PREFIX.strip(),))
            return True
        # In this order: who declares it dead after the check finds the name and ends this session.
        db.query(_SET_NAME, (_PREFIX + node,))
        return db.query(_IS_ALIVE, (node,))[0][0] > 0

    async def end_of(self, node: str) -> None:
        """End every session of another node, and wait until they have ended. Raises StoreUnavailable."""
        await self.use(lambda db: _end_sessions(db, _PREFIX + node))

    async def without_sessions(self, nodes: Mapping[str, Instant]) -> list[str]:
        """Return which of these nodes have no session, of those with a heartbeat since PostgreSQL was started."""

        def look(db: PostgresConnection) -> list[str]:
            started_at = db.query(_STARTED_AT, ())[0][0]
            known = [node for node, seen_at in nodes.items() if seen_at > started_at]
            return [node for node in known if not db.query(_COUNT, (_PREFIX + node,))[0][0]]

        return await self.use(look)

    async def use(self, look: Callable[[PostgresConnection], R]) -> R:
        """Use the watched session, outside of any transaction. Raises StoreUnavailable."""
        async with self._in_use:
            session = self._session
            if self._watched is not None:
                self._loop.remove_reader(self._watched)
            try:
                return await self._thread.run(lambda: self._look(look))
            finally:
                if self._watched is not None and session is not None and session is self._session:
                    self._loop.add_reader(self._watched, self._on_readable, session)

    def _look(self, look: Callable[[PostgresConnection], R]) -> R:
        session = self._session
        if session is None:
            raise StoreUnavailable(_GONE)
        try:
            return look(session)
        except (Contended, ConnectionLost) as error:
            raise StoreUnavailable(f"PostgreSQL: {error}") from error

    def _begin_session(self) -> None:
        """Open a session and prepare the database; on the setup thread."""
        db = self._new_connection()
        try:
            share_lock(db, timeout_seconds=_OPEN_TIMEOUT_SECONDS)
            self._prepare(db)
            self._fenced = not self._name(db, self._node)
            if self._fenced:
                self._name(db, None)  # or the node that declared this one dead would end it again and again
        except (Contended, ConnectionLost, CommitUnknown) as error:
            db.close()
            raise StoreUnavailable(f"PostgreSQL: {error}") from error
        except BaseException:
            db.close()
            raise
        self._session = db

    async def _admit(self) -> None:
        """Admit operations, and watch the session."""
        assert self._session is not None  # noqa: S101 - `_begin_session` has just succeeded
        # Two threads must not read from one connection: a call that waited for the session may use it already.
        async with self._in_use:
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
        """Refuse operations until there is another session. Nothing when this one was replaced already."""
        if self._session is not session:
            return
        self._stop_watching()
        if self._closing:
            return
        self._outage = f"PostgreSQL: {reason}"
        session.close()
        self._session = None
        self._recovery = self._loop.create_task(self._recover())
        _log.warning("database_session_lost", error=reason)

    async def _recover(self) -> None:
        """Open another session as soon as possible."""
        while self._session is None:
            try:
                await self._thread.run(self._begin_session)
            except StoreUnavailable as error:
                self._outage = error.reason
                await asyncio.sleep(_RETRY_PAUSE_SECONDS)
        self._on_renewed()
        await self._admit()
        self._recovery = None
        _log.warning("database_session_renewed")


def share_lock(db: PostgresConnection, *, timeout_seconds: float) -> None:
    """Share the lock of all nodes on this connection.

    Blocks up to `timeout_seconds` for a server of an earlier version that is just ending. Raises StoreUnavailable
    naming where it connects from.
    """
    if not _wait_until(lambda: db.query(_SHARE, (_KEY,))[0][0], timeout_seconds):
        raise StoreUnavailable(
            f"a server of an earlier version is using this database{_describe_holder(db)}; stop it first. If its "
            f"host has died, PostgreSQL releases its lock after {db.keepalive.timeout.total_seconds():g} s"
        )


def _describe_holder(db: PostgresConnection) -> str:
    rows = db.query(_HOLDER, (_KEY,))
    return f" (PostgreSQL session {rows[0][0]}, from {rows[0][1]})" if rows else ""


def _end_sessions(db: PostgresConnection, name: str) -> None:
    if not _wait_until(lambda: not db.query(_END, (name,)), _END_TIMEOUT_SECONDS):
        raise StoreUnavailable("sessions of a node that died do not end; they are ended again soon")


def _wait_until(look: Callable[[], bool], timeout_seconds: float) -> bool:
    """Look again and again until it is so; return False when it is not after `timeout_seconds`. Blocks."""
    deadline = time.monotonic() + timeout_seconds
    while not look():
        if time.monotonic() >= deadline:
            return False
        time.sleep(_PAUSE_SECONDS)
    return True
