"""The one writer of a SQLite database: many operations per commit.

The writer is a loop: take the queued operations, run them in one transaction, commit, settle their futures.

- Point operations run on the event loop's thread. Only the COMMIT, with its fsync, runs on the writer thread;
  operations that arrive meanwhile form the next batch. A batch is bounded in number and time.
- A bulk operation runs entirely on the writer thread, alone in its transaction; the operations after it wait.
- Operations have no savepoints, which cost as much as a statement. When one fails that wrote after others, the
  batch is rolled back and run again with a savepoint per operation, and the failed one is undone by itself. Its caller,
  like all others, learns of it after the commit: what it read may have been uncommitted work of a neighbour.
- When a COMMIT fails nothing of its batch is kept, every caller gets StoreUnavailable, and the next batch tries again,
  on a new connection when the old one is unusable.
- While another process holds the write lock, each operation is retried as its policy says.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from time import perf_counter
from typing import Any

import apsw
import structlog

from app.domain.audit import AuditSeal
from app.domain.clock import Clock
from app.domain.errors import LockBusy, LockBusyAfterRetry, StoreUnavailable
from app.domain.ids import IdSource
from app.state.operations import run_operation
from app.state.port import CommitListener, HoldPolicy
from app.state.sqlite.checkpointer import Checkpointer
from app.state.sqlite.connection import SqliteConnection, unavailable
from app.state.state import Effects, State
from app.state.worker_threads import WorkerThreads

BATCH_OPERATIONS = 256
BATCH_SECONDS = 0.005

_log: Any = structlog.get_logger(__name__)


class Call:
    """An accepted operation, its caller's future, and its outcome until that can be set."""

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

    def reset(self) -> None:
        """Discard the outcome: the operation will run again."""
        self.answer = self.error = self.effects = None

    def refuse(self, error: BaseException) -> None:
        """Raise an error in the caller, unless it was cancelled."""
        if not self.future.done():
            self.future.set_exception(error)

    def resolve(self) -> None:
        """Give the caller the outcome, unless it was cancelled."""
        if self.error is not None:
            self.refuse(self.error)
        elif not self.future.done():
            self.future.set_result(self.answer)


class SqliteWriter:
    """Runs operations in batches on one connection. Call the methods on the loop's thread.

    `connect` opens a connection, on the writer thread, whenever one is needed. A database in memory has no
    `checkpointer`; its commits run on the loop's thread, since they do not wait for a disk.
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
        seal: AuditSeal | None,
        names: dict[int, str | None],
        checkpointer: Checkpointer | None,
    ) -> None:
        self._connect = connect
        self._thread = thread
        self._loop = loop
        self._clock = clock
        self._ids = ids
        self._jitter = jitter
        self._seal = seal
        self._names = names
        self._checkpointer = checkpointer
        self.listener: CommitListener | None = None
        self._db: SqliteConnection | None = None
        self._queue: deque[Call] = deque()
        self._bulk_calls = 0  # bulk operations that are queued or running
        self._savepoint_calls = 0  # operations at the head of the queue that run with a savepoint each
        self._failing = False  # the last batch failed, and nothing was committed since
        self._wakeup = asyncio.Event()  # something was queued, or the writer is closing
        self._free = asyncio.Event()  # the writer thread does not have the connection for a bulk operation
        self._free.set()
        self._closing = False
        self._loop_task: asyncio.Task[None] | None = None

    async def open(self, prepare: Callable[[SqliteConnection], None]) -> None:
        """Connect, run `prepare` on the writer thread, and start the loop. Raises StoreUnavailable, apsw.Error."""

        def connect() -> SqliteConnection:
            db = self._connect()
            try:
                prepare(db)
            except BaseException:
                db.close()
                raise
            return db

        self._db = await self._thread.run(connect)
        self._loop_task = self._loop.create_task(self._run(), name="sqlite writer")

    async def close(self) -> None:
        """Finish accepted operations and close the connection. Nothing may be submitted any more."""
        self._closing = True
        self._wakeup.set()
        if self._loop_task is not None:
            await self._loop_task
        if self._db is not None:
            await self._thread.run(self._db.close)
            self._db = None

    def submit(self, op: str, fn: Callable[[State], Any], policy: HoldPolicy, bulk: bool) -> asyncio.Future[Any]:
        """Queue an operation; the future is resolved after its commit. Raises LockBusy.

        Cancelling the future drops an operation that has not begun.
        """
        if policy.try_only and self._bulk_calls:
            raise LockBusy(op)
        call = Call(op, fn, policy, bulk, self._loop.create_future())
        self._bulk_calls += bulk
        self._queue.append(call)
        self._wakeup.set()
        return call.future

    async def free(self) -> SqliteConnection:
        """Return the connection at a moment when nothing on it is uncommitted, for use before the next await only.

        For a database in memory. Raises StoreUnavailable while there is no connection.
        """
        while not self._free.is_set():
            await self._free.wait()
        if self._db is None:
            raise StoreUnavailable("the database is being opened again")
        return self._db

    async def _run(self) -> None:
        """Take operations, run and commit them, settle their futures; until closed and nothing is left."""
        contended = False
        while self._queue or not self._closing:
            if contended:
                await self._wait_for_retry()
            elif not self._queue:
                await self._wakeup.wait()
            self._wakeup.clear()
            contended = bool(self._queue) and await self._run_next()

    async def _run_next(self) -> bool:
        """Run the next batch or bulk operation; return whether another process holds the write lock."""
        db = self._db or await self._reconnect()
        if db is None:
            return False
        try:
            if self._queue[0].bulk:
                await self._run_bulk(self._queue.popleft(), db)
            else:
                await self._run_batch(db)
        except apsw.BusyError:
            self._postpone()
            return True
        return False

    async def _reconnect(self) -> SqliteConnection | None:
        """Open a new connection; when that fails, refuse everything that is queued and return None."""
        try:
            self._db = await self._thread.run(self._connect)
        except Exception as error:  # noqa: BLE001 - whatever it is, the callers get it
            refused, self._queue = list(self._queue), deque()
            self._bulk_calls -= sum(call.bulk for call in refused)
            self._settle(refused, error)
        return self._db

    async def _run_batch(self, db: SqliteConnection) -> None:
        """Run point operations in one transaction and settle them. Raises BusyError before the first has begun."""
        batch: list[Call] = []
        db.uses_savepoints = self._savepoint_calls > 0
        try:
            complete = self._fill(batch, db)
        except (apsw.Error, StoreUnavailable) as error:
            if isinstance(error, apsw.BusyError) and not batch:
                raise
            self._roll_back(db)
            self._settle(batch or [self._queue.popleft()], error)
            return
        if not complete:
            self._run_again_with_savepoints(batch, db)
            return
        self._savepoint_calls = max(0, self._savepoint_calls - len(batch))
        if db.dirty and self._checkpointer is not None:
            await self._commit_on_thread(batch, db)
        else:
            self._settle(batch, _attempt(partial(self._commit, db) if db.dirty else db.rollback))
            # Callers continue first: what they submit at once joins the next batch.
            await asyncio.sleep(0)

    def _fill(self, batch: list[Call], db: SqliteConnection) -> bool:
        """Move operations from the queue to the batch and run them; False when the batch has to be rolled back."""
        queue, raw = self._queue, db.raw
        stop_at = perf_counter() + BATCH_SECONDS
        while queue and not queue[0].bulk and len(batch) < BATCH_OPERATIONS and perf_counter() < stop_at:
            if queue[0].future.done():  # cancelled before it began
                queue.popleft()
                continue
            if not raw.in_transaction:
                db.begin()
            call = queue.popleft()
            batch.append(call)
            if not self._run_operation(call, db):
                return False
        return True

    def _run_operation(self, call: Call, db: SqliteConnection) -> bool:
        """Run an operation in the open transaction; False when it failed and the whole transaction has to go.

        Raises apsw.Error or StoreUnavailable when the transaction is void for all.
        """
        state = State(db, now=self._clock(), ids=self._ids, jitter=self._jitter, seal=self._seal, names=self._names)
        db.start_operation()
        try:
            call.answer = run_operation(call.op, call.fn, state, call.policy)
            db.keep_operation()
            call.effects = state.effects
        except BaseException as error:  # noqa: BLE001 - whatever an operation raises is its caller's
            call.error = error
            return db.undo_operation()
        return True

    def _run_again_with_savepoints(self, batch: list[Call], db: SqliteConnection) -> None:
        self._roll_back(db)
        for call in batch:
            call.reset()
        self._queue.extendleft(reversed(batch))
        self._savepoint_calls = len(batch)

    async def _run_bulk(self, call: Call, db: SqliteConnection) -> None:
        """Run one operation on the writer thread and settle it. Raises BusyError when it could not begin."""
        error: BaseException | None = None
        if not call.future.done():  # else cancelled before it began
            self._free.clear()
            try:
                await self._thread.run(partial(self._run_alone, call, db))
            except apsw.BusyError:
                self._queue.appendleft(call)
                raise
            except Exception as failure:  # noqa: BLE001 - whatever it is, the caller gets it
                error = failure
            finally:
                self._free.set()
        self._bulk_calls -= 1
        self._settle([call], error)

    def _run_alone(self, call: Call, db: SqliteConnection) -> None:
        """Run an operation in its own transaction, on the writer thread."""
        db.begin()
        try:
            self._run_operation(call, db)
        except (apsw.Error, StoreUnavailable):
            self._roll_back(db)
            raise
        if db.dirty:
            self._commit(db)
        else:
            db.rollback()

    async def _commit_on_thread(self, batch: list[Call], db: SqliteConnection) -> None:
        """Commit while the event loop goes on, and settle the batch."""
        settled: asyncio.Future[None] = self._loop.create_future()

        def settle(_: None, error: BaseException | None) -> None:
            self._settle(batch, error)
            # Behind the callers: what they submit at once joins the next batch.
            settled.set_result(None)

        self._thread.submit(partial(self._commit, db), settle)
        await settled

    def _commit(self, db: SqliteConnection) -> None:
        try:
            db.commit()
        except BaseException:
            self._roll_back(db)
            db.empty_log()
            raise
        failed, self._failing = self._failing, False
        if self._checkpointer is not None:
            self._checkpointer.after_commit(db)
        if failed:
            _log.info("database_works_again")

    def _roll_back(self, db: SqliteConnection) -> None:
        """Roll back; when even that fails, discard the connection."""
        try:
            db.rollback()
        except apsw.Error as failure:
            self._db = None
            db.close()
            _log.warning("database_connection_given_up", error=str(failure))

    def _settle(self, batch: list[Call], error: BaseException | None) -> None:
        """After the commit, or its failure: first the effects, then the callers."""
        if self._checkpointer is not None and self._db is not None:
            self._checkpointer.log_grew(self._db.log_bytes)
        if error is None:
            fault = self._announce(batch)
            for call in batch:
                call.resolve()
            if fault is not None:
                _log.error("commit_listener_failed", error=repr(fault))
        else:
            for call in batch:
                call.refuse(_failure(error))
            self._report_failure(_failure(error))

    def _report_failure(self, failure: StoreUnavailable) -> None:
        """Log the first failure after a success."""
        if not self._failing:
            self._failing = True
            _log.error("database_fails", reason=failure.reason)

    def _announce(self, batch: list[Call]) -> Exception | None:
        """Pass the effects to the listener; return its error rather than raise it, since the commit stands."""
        found = [call.effects for call in batch if call.effects is not None]
        if not found or self.listener is None:
            return None
        merged = found[0]
        for effects in found[1:]:
            merged.add(effects)
        try:
            self.listener(merged)
        except Exception as error:  # noqa: BLE001 - see above
            return error
        return None

    def _postpone(self) -> None:
        """Count a try of every operation that was due, and refuse those that have no more."""
        now = self._loop.time()
        waiting: deque[Call] = deque()
        for call in self._queue:
            if call.ready_at <= now:
                call.tries += 1
                call.ready_at = now + call.policy.backoff_step_ms * call.tries / 1000
            if call.policy.try_only:
                call.refuse(LockBusy(call.op))
            elif call.tries > call.policy.max_retry:
                call.refuse(LockBusyAfterRetry(call.op, call.policy.max_retry))
            if call.future.done():
                self._bulk_calls -= call.bulk
            else:
                waiting.append(call)
        self._queue = waiting

    async def _wait_for_retry(self) -> None:
        """Wait until the next retry is due or another operation is queued."""
        due = min((call.ready_at for call in self._queue), default=0.0)
        with suppress(TimeoutError):
            async with asyncio.timeout_at(due):
                await self._wakeup.wait()


def _attempt(job: Callable[[], None]) -> apsw.Error | None:
    """Run a job and return the driver's error, if there was one."""
    try:
        job()
    except apsw.Error as error:
        return error
    return None


def _failure(error: BaseException) -> StoreUnavailable:
    """Return a copy, for one caller, of the error that made its batch fail."""
    if isinstance(error, StoreUnavailable):
        return StoreUnavailable(error.reason)
    failure = unavailable(error) if isinstance(error, apsw.Error) else StoreUnavailable(repr(error))
    failure.__cause__ = error
    return failure
