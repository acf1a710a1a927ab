"""The PostgreSQL store: operations run in parallel, each in its own transaction, on a bounded number of worker threads.

Transactions are READ COMMITTED; operations exclude each other by first locking the row that they change (`Rows.lock`).
One that loses a conflict (a deadlock, a row that stays locked, a row that was inserted meanwhile) runs again with a
fresh State as its policy says. So does one whose connection broke, unless it broke in the COMMIT: then nobody knows
whether the transaction was committed, and the caller gets an error that says so.

Reads run on a REPEATABLE READ snapshot. Bulk work has separate threads. Many nodes may use one database. While a node
has no session of its own (because PostgreSQL restarts, for example) operations are refused, and the store opens one as
soon as possible; a node that was declared dead is refused until it enters again (`NodeSessions`).
"""

from __future__ import annotations

import asyncio
import threading
from collections import deque
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import psycopg
import structlog

from app.domain.audit import AuditSeal
from app.domain.clock import Clock, Instant, running_ms, system_clock
from app.domain.errors import LockBusy, LockBusyAfterRetry, StoreUnavailable
from app.domain.ids import IdSource
from app.domain.namespaces import KNOWN
from app.state import migrations
from app.state.health_check import HealthCheck
from app.state.operations import run_operation
from app.state.policies import HoldPolicy
from app.state.port import CommitListener, StoreCounts
from app.state.postgres.connection import CommitUnknown, ConnectionLost, Contended, PostgresConnection
from app.state.postgres.cursors import settle_feed_offset
from app.state.postgres.database_clock import DatabaseClock
from app.state.postgres.dump import dump
from app.state.postgres.keepalive import Keepalive
from app.state.postgres.node_sessions import NodeSessions
from app.state.state import Effects, State, even_jitter
from app.state.worker_threads import WorkerThreads, resolve

R = TypeVar("R")

BULK_THREADS = 2
_MEASURE_INTERVAL_MS = 5_000
_PREPARE_KEY = 0x5357_4152_4E
_PREPARE_LOCK_TIMEOUT_MS = "30000"
"""How long a node waits for another one that migrates, and a migration for the transactions of others."""

_log: Any = structlog.get_logger(__name__)


class PostgresStore:
    """The store on one PostgreSQL database. Belongs to the event loop that opens it.

    Up to `connections` point operations run at once; bulk work has two further connections, the node itself one. A
    statement that waits longer than `lock_timeout_ms` for a row fails, and its operation is retried as the policy says.
    `ids` creates a source of ids for each connection, `jitter` is the randomness that operations see (called on several
    threads), `policy` applies where `transact` is given none, `keepalive` is how soon a dead connection is noticed,
    `seal` chains the rows of the audit log.
    """

    def __init__(
        self,
        url: str,
        *,
        connections: int = 16,
        lock_timeout_ms: int = 1_000,
        clock: Clock = system_clock,
        ids: Callable[[], IdSource] | None = None,
        policy: HoldPolicy | None = None,
        jitter: Callable[[], float] = even_jitter,
        seal: AuditSeal | None = None,
        keepalive: Keepalive | None = None,
    ) -> None:
        self._url = url
        self._connections = connections
        self._lock_timeout_ms = lock_timeout_ms
        self._clock = clock
        self._ids = ids or (lambda: IdSource(clock=clock))
        self._policy = policy or HoldPolicy()
        self._bulk_policy = self._policy.unbounded()
        self._read_policy = self._policy.warn_only()
        self._jitter = jitter
        self._seal = seal
        self._keepalive = keepalive
        self._turns = threading.Lock()
        self.counts = StoreCounts()
        self.names = dict(KNOWN)
        self._health = HealthCheck()
        self._listener: CommitListener | None = None
        self._idle: deque[PostgresConnection] = deque()
        self._sessions = NodeSessions(self._connect, prepare=self._prepare, on_renewed=self._close_idle)
        self._opened = False
        self._measured_at = 0
        self._offset = 0
        self._active = 0
        self._quiet = asyncio.Event()

    async def open(self) -> None:
        """Connect and migrate. Raises StoreUnavailable."""
        if self._opened:
            return
        await self._sessions.open()
        self._loop = asyncio.get_running_loop()
        self._point_threads = WorkerThreads("swarmhold-postgres", self._loop, size=self._connections)
        self._bulk_threads = WorkerThreads("swarmhold-postgres-bulk", self._loop, size=BULK_THREADS)
        self.counts.pool_waits = {"point": self._point_threads.waits, "bulk": self._bulk_threads.waits}
        self._opened = True

    async def close(self) -> None:
        """Finish accepted operations, refuse new ones, and release every resource. Safe to call twice."""
        if not self._opened:
            return
        self._opened = False
        await self._sessions.refuse()
        while self._active:
            self._quiet.clear()
            await self._quiet.wait()
        await self._release()

    @property
    def fenced(self) -> bool:
        """Whether this node was declared dead: see `Store.fenced`."""
        return self._sessions.fenced

    async def enter(self, node: str | None) -> None:
        """Go on as this node: see `Store.enter`. Raises StoreUnavailable."""
        await self._sessions.enter(node)
        self._close_idle()

    async def end_sessions_of(self, node: str) -> None:
        """End what another node has under way: see `Store.end_sessions_of`. Raises StoreUnavailable."""
        await self._sessions.end_of(node)

    async def without_sessions(self, nodes: Mapping[str, Instant]) -> list[str]:
        """Return which of these nodes are not connected: see `Store.without_sessions`. Raises StoreUnavailable."""
        return await self._sessions.without_sessions(nodes) if nodes else []

    def on_commit(self, listener: CommitListener) -> None:
        """Set the listener for effects: see `Store.on_commit`."""
        self._listener = listener

    async def transact(
        self, op: str, fn: Callable[[State], R], *, policy: HoldPolicy | None = None, bulk: bool = False
    ) -> R:
        """Run `fn` in one transaction and return its result after the commit: see `Store.transact`.

        With `try_only` it is refused when another transaction holds one of its rows.
        """
        policy = policy or (self._bulk_policy if bulk else self._policy)
        begin = partial(PostgresConnection.begin, no_wait=policy.try_only, unbounded=bulk)
        try:
            return await self._retry(op, policy, partial(self._attempt, begin, op, fn, policy), bulk=bulk)
        except StoreUnavailable:
            self._health.report_failure()
            self.counts.fenced_writes += self.fenced
            raise

    async def read(self, fn: Callable[[State], R], *, bulk: bool = False) -> R:
        """Run `fn` on a committed snapshot: see `Store.read`."""
        policy = self._bulk_policy if bulk else self._read_policy
        begin = partial(PostgresConnection.begin_reading, unbounded=bulk)
        attempt = partial(self._attempt, begin, "read", fn, policy)
        try:
            return await self._retry("read", policy, attempt, bulk=bulk)
        except StoreUnavailable:
            self._health.report_failure()
            raise

    async def check(self) -> None:
        """Check that the database can be read and written: see `HealthCheck`. Raises StoreUnavailable."""
        await self._health.run(self)
        if isinstance(self._clock, DatabaseClock) and running_ms() - self._measured_at >= _MEASURE_INTERVAL_MS:
            await self._sessions.use(self._measure)

    @property
    def failures(self) -> int:
        """How many operations have failed so far: see `Store.failures`."""
        return self._health.failures

    async def backup(self, target: str) -> None:
        """Write a consistent copy with `pg_dump` while the server runs. Raises StoreUnavailable."""
        self._sessions.check()
        await asyncio.to_thread(dump, self._url, Path(target))

    async def _retry(
        self, op: str, policy: HoldPolicy, attempt: Callable[[], tuple[R, Effects | None]], *, bulk: bool
    ) -> R:
        """Try until the operation is done, fails for good, or the policy allows no further try."""
        self._active += 1
        tries = 0
        try:
            while True:
                self._sessions.check()
                try:
                    return await self._run_on(self._bulk_threads if bulk else self._point_threads, attempt)
                except CommitUnknown as error:
                    raise StoreUnavailable(f"PostgreSQL: {error}", unsure=True) from error
                except (Contended, ConnectionLost) as error:
                    tries += 1
                    failure, limit = _final_error(op, policy, error)
                    if tries > limit:
                        raise failure from error
                await asyncio.sleep(policy.backoff_step_ms * tries / 1000 if limit == policy.max_retry else 0)
        finally:
            self._active -= 1
            self._quiet.set()

    async def _run_on(self, threads: WorkerThreads, attempt: Callable[[], tuple[R, Effects | None]]) -> R:
        future: asyncio.Future[R] = self._loop.create_future()

        def done(result: tuple[R, Effects | None] | None, error: BaseException | None) -> None:
            if result is None:
                resolve(future, None, error)
            else:
                self._announce(result[1])
                resolve(future, result[0], None)

        # An operation whose caller was cancelled before it began is dropped.
        threads.submit(lambda: None if future.done() else attempt(), done)
        return await future

    def _attempt(
        self, begin: Callable[[PostgresConnection], None], op: str, fn: Callable[[State], R], policy: HoldPolicy
    ) -> tuple[R, Effects | None]:
        """Run an operation once, on a worker thread."""
        db = self._take_connection()
        try:
            begin(db)
            state = State(db, now=self._clock(), ids=db.ids, jitter=self._jitter, seal=self._seal, names=self.names)
            answer = run_operation(op, fn, state, policy)
            db.commit()
        except BaseException:
            self._return(db)
            raise
        self._idle.append(db)
        return answer, state.effects

    def _announce(self, effects: Effects | None) -> None:
        if effects is None or self._listener is None:
            return
        try:
            self._listener(effects)
        except Exception as error:  # noqa: BLE001 - the commit stands, and its caller must learn of it
            _log.error("commit_listener_failed", error=repr(error))

    def _take_connection(self) -> PostgresConnection:
        try:
            db = self._idle.pop()
        except IndexError:
            db = self._sessions.connect()
        db.feed_offset = self._offset
        return db

    def _connect(self) -> PostgresConnection:
        return PostgresConnection(
            self._url,
            self._ids(),
            lock_timeout_ms=self._lock_timeout_ms,
            keepalive=self._keepalive,
            turns=self._turns,
        )

    def _return(self, db: PostgresConnection) -> None:
        """Return a connection after a failure: reuse it only when it can be rolled back."""
        try:
            db.rollback()
        except (ConnectionLost, StoreUnavailable, psycopg.Error):
            db.close()
        else:
            self._idle.append(db)

    def _prepare(self, db: PostgresConnection) -> None:
        """Migrate the database and settle the offset of its cursors, in one transaction, one node at a time."""
        db.begin(unbounded=True)
        db.query("SELECT set_config('lock_timeout', %s, true)", (_PREPARE_LOCK_TIMEOUT_MS,))
        db.query("SELECT pg_advisory_xact_lock(%s)::text", (_PREPARE_KEY,))
        migrations.migrate(db)
        self._measure(db)
        self._offset = settle_feed_offset(db, self._clock())
        db.commit()

    def _measure(self, db: PostgresConnection) -> None:
        """Set the clock by the database's."""
        if isinstance(self._clock, DatabaseClock):
            self._clock.measure(db)
        self._measured_at = running_ms()

    def _close_idle(self) -> None:
        while self._idle:
            self._idle.pop().close()

    async def _release(self) -> None:
        for threads in (self._point_threads, self._bulk_threads):
            await threads.stop()
        self._close_idle()
        await self._sessions.close()


def _final_error(op: str, policy: HoldPolicy, error: Contended | ConnectionLost) -> tuple[Exception, int]:
    """Return what to raise in the end, and after how many further tries."""
    if isinstance(error, ConnectionLost):
        return StoreUnavailable(f"PostgreSQL: {error}"), max(policy.max_retry, 1)
    if error.lasting is not None:
        return error.lasting, max(policy.max_retry, 1)
    if policy.try_only:
        return LockBusy(op), 0
    return LockBusyAfterRetry(op, policy.max_retry), policy.max_retry
