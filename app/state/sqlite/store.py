"""The SQLite store, in a file or in memory: `SqliteWriter` writes, separate connections read.

Point reads run on the event loop's thread, each on one committed snapshot; bulk reads on a separate thread and
connection. A database in memory has a single connection: its reads run between batches.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import TypeVar

import apsw

from app.domain.audit import AuditSeal
from app.domain.clock import Clock, Instant, system_clock
from app.domain.errors import StoreUnavailable
from app.domain.ids import IdSource
from app.domain.namespaces import KNOWN
from app.state import migrations, private_file
from app.state.health_check import HealthCheck
from app.state.operations import run_operation
from app.state.policies import HoldPolicy
from app.state.port import CommitListener, StoreCounts
from app.state.sqlite.checkpointer import Checkpointer
from app.state.sqlite.connection import (
    MEMORY,
    MIN_VERSION,
    UNUSABLE,
    SqliteConnection,
    SqliteReader,
    open_raw,
    unavailable,
)
from app.state.sqlite.files import FileLock, copy_database, leap_after_absence
from app.state.sqlite.writer import SqliteWriter
from app.state.state import State, even_jitter
from app.state.worker_threads import WorkerThreads

R = TypeVar("R")

READS_BEFORE_YIELD = 32


class SqliteStore:
    """The store on one SQLite file, or in memory. Belongs to the event loop that opens it.

    One process per file, ensured by a lock on `<path>.lock`. `ids` creates a source of ids, `jitter` is the randomness
    that operations see, `policy` applies where `transact` is given none, `seal` chains the rows of the audit log.
    """

    def __init__(
        self,
        path: str | Path,
        *,
        clock: Clock = system_clock,
        ids: Callable[[], IdSource] | None = None,
        policy: HoldPolicy | None = None,
        jitter: Callable[[], float] = even_jitter,
        seal: AuditSeal | None = None,
    ) -> None:
        self._memory = str(path) == MEMORY
        self.path = MEMORY if self._memory else os.path.realpath(path)
        self._clock = clock
        self._ids = ids or (lambda: IdSource(clock=clock))
        self._policy = policy or HoldPolicy()
        self._bulk_policy = self._policy.unbounded()
        self._read_policy = self._policy.warn_only()
        self._jitter = jitter
        self._seal = seal
        self.counts = StoreCounts()
        self.names = dict(KNOWN)
        self._health = HealthCheck()
        self._listener: CommitListener | None = None
        self._lock = FileLock(Path(f"{self.path}.lock"))
        self._writer: SqliteWriter | None = None
        self._reads = 0

    async def open(self) -> None:
        """Take the lock, connect and migrate. Raises StoreUnavailable."""
        if self._writer is not None:
            return
        _check_library()
        loop = asyncio.get_running_loop()
        self._thread = WorkerThreads("swarmhold-writer", loop)
        self._bulk_reads = WorkerThreads("swarmhold-bulk-reads", loop)
        self._checkpointer = (
            None if self._memory else Checkpointer(partial(open_raw, self.path), WorkerThreads("swarmhold-log", loop))
        )
        self._reader: SqliteReader | None = None
        self._read_ids, self._bulk_read_ids = self._ids(), self._ids()
        writer = SqliteWriter(
            self._connect,
            self._thread,
            loop,
            clock=self._clock,
            ids=self._ids(),
            jitter=self._jitter,
            seal=self._seal,
            names=self.names,
            checkpointer=self._checkpointer,
        )
        try:
            if not self._memory:
                self._lock.acquire()
            await writer.open(partial(_prepare, now=self._clock()))
        except BaseException as error:
            await self._release()
            if isinstance(error, UNUSABLE):
                raise unavailable(error) from error
            raise
        writer.listener = self._listener
        self._writer = writer

    async def close(self) -> None:
        """Finish accepted operations, refuse new ones, and release every resource. Safe to call twice."""
        writer, self._writer = self._writer, None
        if writer is None:
            return
        await writer.close()
        if self._reader is not None:
            self._reader.close()
        await self._release()

    @property
    def fenced(self) -> bool:
        """Return False: the lock of the file lasts as long as the process."""
        return False

    async def enter(self, node: str | None) -> None:
        """Do nothing: the process that holds the lock of the file is the only node."""

    async def end_sessions_of(self, node: str) -> None:
        """Do nothing: another node's process has ended, since its lock is held by this one."""

    async def without_sessions(self, nodes: Mapping[str, Instant]) -> list[str]:
        """Return all of them: their processes have ended."""
        return list(nodes)

    def on_commit(self, listener: CommitListener) -> None:
        """Set the listener for effects: see `Store.on_commit`."""
        self._listener = listener
        if self._writer is not None:
            self._writer.listener = listener

    async def transact(
        self, op: str, fn: Callable[[State], R], *, policy: HoldPolicy | None = None, bulk: bool = False
    ) -> R:
        """Run `fn` in one transaction and return its result after the commit: see `Store.transact`.

        `try_only` refuses while a bulk operation runs or another process holds the write lock; not because of a
        commit under way, since the operation joins the next batch.
        """
        if policy is None:
            policy = self._bulk_policy if bulk else self._policy
        try:
            return await self._opened().submit(op, fn, policy, bulk)
        except StoreUnavailable:
            self._health.report_failure()
            raise

    async def read(self, fn: Callable[[State], R], *, bulk: bool = False) -> R:
        """Run `fn` on a committed snapshot: see `Store.read`."""
        await self._yield_sometimes()
        writer = self._opened()
        if self._memory:
            policy = self._bulk_policy if bulk else self._read_policy
            return self._read(SqliteReader.sharing(await writer.free()), fn, self._read_ids, policy)
        if bulk:
            return await self._bulk_reads.run(lambda: self._bulk_read(fn))
        try:
            self._reader = self._reader or _open_reader(self.path)
            return self._read(self._reader, fn, self._read_ids, self._read_policy)
        except StoreUnavailable:
            self._health.report_failure()
            if self._reader is not None:
                self._reader.close()
                self._reader = None
            raise

    async def check(self) -> None:
        """Check that the database can be read and written: see `HealthCheck`. Raises StoreUnavailable."""
        await self._health.run(self)

    @property
    def failures(self) -> int:
        """How many operations have failed so far: see `Store.failures`."""
        return self._health.failures

    async def backup(self, target: str) -> None:
        """Write a consistent copy to a new file while the server runs. Raises StoreUnavailable."""
        self._opened()
        if self._memory:
            raise StoreUnavailable("a database in memory cannot be backed up; use a file")
        await asyncio.to_thread(copy_database, self.path, Path(target))

    async def _yield_sometimes(self) -> None:
        """Yield to the event loop now and then: reads do not wait, so a caller that only reads would starve others."""
        self._reads += 1
        if self._reads % READS_BEFORE_YIELD == 0:
            await asyncio.sleep(0)

    def _opened(self) -> SqliteWriter:
        if self._writer is None:
            raise StoreUnavailable("the store is closed")
        return self._writer

    def _read(self, reader: SqliteReader, fn: Callable[[State], R], ids: IdSource, policy: HoldPolicy) -> R:
        reader.begin()
        try:
            state = State(reader, now=self._clock(), ids=ids, jitter=self._jitter, seal=self._seal, names=self.names)
            return run_operation("read", fn, state, policy)
        finally:
            reader.end()

    def _bulk_read(self, fn: Callable[[State], R]) -> R:
        reader = _open_reader(self.path)
        try:
            return self._read(reader, fn, self._bulk_read_ids, self._bulk_policy)
        finally:
            reader.close()

    def _connect(self) -> SqliteConnection:
        if not self._memory:
            _create_privately(Path(self.path))
        return SqliteConnection(self.path)

    async def _release(self) -> None:
        await self._thread.stop()
        await self._bulk_reads.stop()
        if self._checkpointer is not None:
            await self._checkpointer.close()
        self._lock.release()


def _check_library() -> None:
    if tuple(int(part) for part in apsw.sqlite_lib_version().split(".")) < MIN_VERSION:
        raise StoreUnavailable(
            f"SQLite {apsw.sqlite_lib_version()} is too old; install the apsw wheel, which includes a newer one"
        )


def _create_privately(path: Path) -> None:
    """Create the file readable by its owner alone; SQLite gives the log the same permissions."""
    try:
        os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, private_file.MODE))
    except OSError as error:
        raise StoreUnavailable(f"cannot open the database file {path}: {error.strerror}") from error


def _prepare(db: SqliteConnection, now: Instant) -> None:
    db.begin()
    try:
        db.start_operation()
        migrations.migrate(db)
        leap_after_absence(db, now)
        db.commit()
    finally:
        db.rollback()


def _open_reader(path: str) -> SqliteReader:
    try:
        return SqliteReader.open(path)
    except apsw.Error as error:
        raise unavailable(error) from error
