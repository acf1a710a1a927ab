"""The one writer of a SQLite database: many operations per commit.

Point operations run on the event loop's thread inside one open transaction. Only the COMMIT, with its fsync, runs on
the writer thread, so the loop goes on; operations that arrive meanwhile form the next batch. A batch is bounded in
number and time. Operations have no savepoints, which cost as much as a statement: when one fails after it has written
behind others, the batch is undone and run again, this time with savepoints, and the failed one is undone by itself.
Its caller, like all others, hears of it after the commit, since what it saw may have been a neighbour's uncommitted
work. Bulk operations run wholly on the writer thread, alone in their transaction; the point operations behind them
wait.

When a COMMIT fails nothing of its batch is kept, every caller gets StoreUnavailable, and the next batch tries anew, on
a fresh connection when the old one is of no more use.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from functools import partial
from time import perf_counter
from typing import Any

import apsw
import structlog

from app.domain.clock import Clock
from app.domain.errors import LockBusy, LockBusyAfterRetry, StoreUnavailable
from app.domain.ids import IdSource
from app.state.operations import run_operation
from app.state.policies import HoldPolicy
from app.state.port import CommitListener
from app.state.sqlite.checkpointer import Checkpointer
from app.state.sqlite.connection import SqliteConnection, unavailable
from app.state.state import Effects, State
from app.state.worker_threads import WorkerThreads

BATCH_OPERATIONS = 256
BATCH_SECONDS = 0.005

_log: Any = structlog.get_logger(__name__)


class Call:
    """An operation that was accepted, and how it came out."""

    __slots__ = ("answer", "bulk", "effects", "error", "fn", "future", "op", "policy", "ready_at", "tries")

    def __init__(
        self, op: str, fn: Callable[[State], Any], policy: HoldPolicy, bulk: bool, future: asyncio.Future[Any]
    ) -> None:
        self.op = op
        self.fn = fn
        self.policy = policy
        self.bulk = bulk
        self.future = future
        self.tries = 0
        self.ready_at = 0.0
        self.answer: Any = None
        self.error: BaseException | None = None
        self.effects: Effects | None = None

    def forget(self) -> None:
        """It will be run again."""
        self.answer = self.error = self.effects = None

    def refuse(self, error: BaseException) -> None:
        """Tell the caller, unless it has gone."""
        if not self.future.done():
            self.future.set_exception(error)

    def resolve(self) -> None:
        """Tell the caller how the operation came out, unless it has gone."""
        if self.error is not None:
            self.refuse(self.error)
        elif not self.future.done():
            self.future.set_result(self.answer)


class SqliteWriter:
    """Runs operations in batches on one connection. All methods belong to the loop's thread.

    `connect` opens a connection (on the writer thread) whenever one is needed. A database in memory has no `log`: its
    commits are made on the loop's thread, since there is nothing to wait for.
    """

    def __init__(
        self,
        connect: Callable[[], SqliteConnection],
        thread: WorkerThreads,
        loop: asyncio.AbstractEventLoop,
        *,
        clock: Clock,
        ids: IdSource,
        jitter: Callable[[], float],
        checkpointer: Checkpointer | None,
    ) -> None:
        self._connect = connect
        self._thread = thread
        self._loop = loop
        self._clock = clock
        self._ids = ids
        self._jitter = jitter
        self._checkpointer = checkpointer
        self.listener: CommitListener | None = None
        self._db: SqliteConnection | None = None
        self._queue: deque[Call] = deque()
        self._guarded = 0  # operations to come that get a savepoint each
        self._bulk = 0  # bulk operations accepted and not finished
        self._busy = False  # the writer thread has the connection
        self._ailing = False  # nothing has been committed since the last batch that failed
        self._awake = False  # a drain is scheduled
        self._waiting: list[asyncio.Future[None]] = []
        self._timer: asyncio.TimerHandle | None = None

    async def open(self, prepare: Callable[[SqliteConnection], None]) -> None:
        """Connect, and run `prepare` on the writer thread. Raises StoreUnavailable."""

        def work() -> SqliteConnection:
            db = self._connect()
            try:
                prepare(db)
            except BaseException:
                db.close()
                raise
            return db

        self._db = await self._thread.run(work)

    async def close(self) -> None:
        """Finish what was accepted and close the connection. Nothing may be submitted any more."""
        while self._queue or self._busy:
            await self._next_turn()
        if self._db is not None:
            await self._thread.run(self._db.close)
            self._db = None

    def submit(self, op: str, fn: Callable[[State], Any], policy: HoldPolicy, bulk: bool) -> asyncio.Future[Any]:
        """Accept an operation; the future is resolved after its commit. Raises LockBusy.

        Cancelling the future drops an operation that has not begun.
        """
        if policy.try_only and self._bulk:
            raise LockBusy(op)
        call = Call(op, fn, policy, bulk, self._loop.create_future())
        self._bulk += bulk
        self._queue.append(call)
        if not self._awake and not self._busy:
            self._wake()
        return call.future

    async def free(self) -> SqliteConnection:
        """The connection, at a moment when nothing uncommitted is on it. For use before the next await only.

        Raises StoreUnavailable when there is no connection now.
        """
        while self._busy:
            await self._next_turn()
        if self._db is None:
            raise StoreUnavailable("the database is being opened again")
        return self._db

    def _wake(self) -> None:
        if not self._awake:
            self._awake = True
            self._loop.call_soon(self._drain)

    def _drain(self) -> None:
        """Run the next batch, if the connection is free."""
        self._awake = False
        if self._busy:
            return
        if not self._queue:
            self._end_turn()
        elif self._db is None:
            self._give(self._connect, self._connected)
        elif self._queue[0].future.done():
            self._drop(self._queue.popleft())
            self._wake()
        elif self._queue[0].bulk:
            call = self._queue.popleft()
            self._give(partial(self._run_bulk, call, self._db), partial(self._end_bulk, call))
        else:
            self._run_batch(self._db)

    def _give(self, job: Callable[[], Any], done: Callable[[Any, BaseException | None], None]) -> None:
        """Hand the connection to the writer thread until `done`."""
        self._busy = True
        self._thread.submit(job, done)

    def _drop(self, call: Call) -> None:
        """Forget an operation that never began."""
        self._bulk -= call.bulk

    def _run_batch(self, db: SqliteConnection) -> None:
        batch: list[Call] = []
        db.guarded = self._guarded > 0
        try:
            if not self._fill(batch, db):
                self._begin_anew(batch, db)
                return
        except apsw.BusyError:
            self._postpone()
            if not batch:
                return
        except (apsw.Error, StoreUnavailable) as error:
            self._give_up(db)
            self._settle(batch or [self._queue.popleft()], error)
            return
        self._guarded = max(0, self._guarded - len(batch))
        if not db.dirty:
            self._settle(batch, _attempt(db.rollback))
        elif self._checkpointer is None:
            self._settle(batch, _attempt(partial(self._commit, db)))
        else:
            self._give(partial(self._commit, db), lambda _, error: self._settle(batch, error))

    def _fill(self, batch: list[Call], db: SqliteConnection) -> bool:
        """Run operations from the queue in one transaction; False when it has to be undone because one failed."""
        queue, raw = self._queue, db.raw
        stop_at = perf_counter() + BATCH_SECONDS
        while queue and len(batch) < BATCH_OPERATIONS and perf_counter() < stop_at:
            call = queue[0]
            if call.bulk:
                break
            if call.future.done():  # its caller was cancelled before it began
                self._drop(queue.popleft())
                continue
            if not raw.in_transaction:
                db.begin()
            batch.append(queue.popleft())
            if not self._run(call, db):
                return False
        return True

    def _run(self, call: Call, db: SqliteConnection) -> bool:
        """Run one operation of the open transaction; False when the transaction has to be undone because it failed.

        Raises what makes the transaction void for all.
        """
        state = State(db, now=self._clock(), ids=self._ids, jitter=self._jitter)
        db.start_operation()
        try:
            call.answer = run_operation(call.op, call.fn, state, call.policy)
            db.keep_operation()
            call.effects = state.effects
        except BaseException as error:  # noqa: BLE001 - whatever an operation raises is its caller's
            call.error = error
            return db.undo_operation()
        return True

    def _begin_anew(self, batch: list[Call], db: SqliteConnection) -> None:
        """Undo the batch, and run its operations again with a savepoint each."""
        self._give_up(db)
        for call in batch:
            call.forget()
        self._queue.extendleft(reversed(batch))
        self._guarded = len(batch)
        self._wake()

    def _commit(self, db: SqliteConnection) -> None:
        try:
            db.commit()
        except BaseException:
            self._give_up(db)
            db.forget_failed_commit()
            raise
        if self._ailing:
            self._ailing = False
            _log.info("database_works_again")
        if self._checkpointer is not None:
            self._checkpointer.after_commit(db)

    def _give_up(self, db: SqliteConnection) -> None:
        """Roll back; where even that fails the next batch gets a fresh connection."""
        try:
            db.rollback()
        except apsw.Error as failure:
            _log.warning("database_connection_given_up", error=str(failure))
            self._db = None
            db.close()

    def _run_bulk(self, call: Call, db: SqliteConnection) -> None:
        """On the writer thread: one operation in its own transaction."""
        db.begin()
        try:
            self._run(call, db)
        except (apsw.Error, StoreUnavailable):
            self._give_up(db)
            raise
        if db.dirty:
            self._commit(db)
        else:
            db.rollback()

    def _end_bulk(self, call: Call, _: None, error: BaseException | None) -> None:
        if isinstance(error, apsw.BusyError):
            self._busy = False
            self._queue.appendleft(call)
            self._postpone()
        else:
            self._bulk -= 1
            self._settle([call], error)

    def _connected(self, db: SqliteConnection | None, error: BaseException | None) -> None:
        """Go on with a fresh connection, or tell everybody that there is none."""
        self._db = db
        waiting: list[Call] = []
        if error is not None:
            waiting, self._queue = list(self._queue), deque()
            self._bulk -= sum(call.bulk for call in waiting)
        self._settle(waiting, error)

    def _postpone(self) -> None:
        """Another process writes: refuse those whose patience is over, and look again when the next one's turn is."""
        now = self._loop.time()
        staying: deque[Call] = deque()
        for call in self._queue:
            if call.ready_at <= now:
                call.tries += 1
                call.ready_at = now + call.policy.backoff_step_ms * call.tries / 1000
            if call.policy.try_only:
                call.refuse(LockBusy(call.op))
            elif call.tries > call.policy.max_retry:
                call.refuse(LockBusyAfterRetry(call.op, call.policy.max_retry))
            if call.future.done():
                self._drop(call)
            else:
                staying.append(call)
        self._queue = staying
        self._end_turn()
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if staying:
            self._timer = self._loop.call_at(min(call.ready_at for call in staying), self._wake)

    def _settle(self, batch: list[Call], error: BaseException | None) -> None:
        """After the commit: first the effects, then the callers."""
        self._busy = False
        if self._checkpointer is not None and self._db is not None:
            self._checkpointer.log_grew(self._db.log_pages)
        if error is not None:
            self._ails(_failure(error))
            for call in batch:
                call.refuse(_failure(error))
        else:
            self._announce(batch)
            for call in batch:
                call.resolve()
        self._end_turn()
        # Behind the callers: those who go on at once are in the next batch.
        self._wake()

    def _ails(self, failure: StoreUnavailable) -> None:
        """Say so once, not for every batch."""
        if not self._ailing:
            self._ailing = True
            _log.error("database_fails", reason=failure.reason)

    def _announce(self, batch: list[Call]) -> None:
        found = [call.effects for call in batch if call.effects is not None]
        if not found or self.listener is None:
            return
        merged = found[0]
        for effects in found[1:]:
            merged.add(effects)
        try:
            self.listener(merged)
        except Exception as error:  # noqa: BLE001 - the commit stands, and its callers must hear of it
            _log.error("commit_listener_failed", error=repr(error))

    async def _next_turn(self) -> None:
        """Wait until the connection is free, or may be."""
        future: asyncio.Future[None] = self._loop.create_future()
        self._waiting.append(future)
        await future

    def _end_turn(self) -> None:
        waiting, self._waiting = self._waiting, []
        for future in waiting:
            if not future.done():
                future.set_result(None)


def _attempt(job: Callable[[], None]) -> BaseException | None:
    """What went wrong."""
    try:
        job()
    except apsw.Error as error:
        return error
    return None


def _failure(error: BaseException) -> StoreUnavailable:
    """A caller's own copy of what made its batch fail."""
    if isinstance(error, StoreUnavailable):
        return StoreUnavailable(error.reason)
    failure = unavailable(error) if isinstance(error, apsw.Error) else StoreUnavailable(repr(error))
    failure.__cause__ = error
    return failure
