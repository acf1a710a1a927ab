"""Checkpoints of a SQLite database's write-ahead log, beside the writer.

By default SQLite copies the log into the database inside the COMMIT that makes it too long, and every caller of that
commit waits. Here a separate thread and connection copy while commits go on. The few pages that are committed
meanwhile are copied by the writer itself, between two commits: then the whole log is in the database, and the next
commit starts the log over.

A reader of an old snapshot keeps the log from starting over for as long as it reads; checkpoints are then retried from
time to time.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import apsw
import structlog

from app.state.sqlite.connection import SqliteConnection
from app.state.worker_threads import WorkerThreads

CHECKPOINT_BYTES = 16_000_000
"""Length of the log at which a checkpoint starts: hot pages are rewritten many times before they are copied once."""
RETRY_BYTES = 4_000_000
"""Bytes that are logged between two attempts while a reader prevents the restart of the log."""
WRITER_BYTES = 1_000_000
"""Bytes that the writer may copy between two commits."""
MAX_BYTES = 16 * CHECKPOINT_BYTES
"""Length of the log at which the writer checkpoints itself, however long it takes: the disk is finite."""

_log: Any = structlog.get_logger(__name__)


class Checkpointer:
    """Decides when to checkpoint, and on which thread. Call on the loop's thread, except `after_commit`.

    `connect` opens the checkpointing connection on `thread`, when it is first needed.
    """

    def __init__(self, connect: Callable[[], Any], thread: WorkerThreads) -> None:
        self._connect = connect
        self._thread = thread
        self._raw: Any = None
        self._copying = False
        self._next_at = CHECKPOINT_BYTES
        self._writer_due = False

    def log_grew(self, length: int) -> None:
        """Take note of the log's length in bytes after a commit, and start a checkpoint when it is due."""
        if length < CHECKPOINT_BYTES:
            self._next_at = CHECKPOINT_BYTES
        elif length >= self._next_at and not self._copying and not self._writer_due:
            self._next_at = length + RETRY_BYTES
            if length < MAX_BYTES:
                self._copying = True
                self._thread.submit(self._copy, self._copied)
            else:
                self._writer_due = True

    def after_commit(self, db: SqliteConnection) -> None:
        """Copy the rest of the log on the writer's thread, before its next transaction, when it is due."""
        if self._writer_due:
            self._writer_due = False
            try:
                db.checkpoint()
            except apsw.Error as error:
                _warn(error)

    async def close(self) -> None:
        """Finish a checkpoint under way and release connection and thread."""
        await self._thread.run(self._disconnect)
        await self._thread.stop()

    def _copy(self) -> int:
        """Copy, on the checkpointing thread, what is committed; return how many bytes are left."""
        if self._raw is None:
            self._raw = self._connect()
        pages, copied = self._raw.wal_checkpoint(mode=apsw.SQLITE_CHECKPOINT_PASSIVE)
        return (pages - copied) * self._raw.pragma("page_size")

    def _copied(self, left: int | None, error: BaseException | None) -> None:
        self._copying = False
        if isinstance(error, apsw.Error):
            _warn(error)
        elif error is not None:
            raise error
        elif left is not None and left <= WRITER_BYTES:
            self._writer_due = True
        else:
            self._next_at = 0  # much was committed meanwhile: go on after the next commit

    def _disconnect(self) -> None:
        raw, self._raw = self._raw, None
        if raw is not None:
            raw.close(True)


def _warn(error: apsw.Error) -> None:
    """Log a failed checkpoint: nothing is lost, the log keeps what was not copied, and commits report a broken disk."""
    _log.warning("database_log_not_copied", error=str(error))
