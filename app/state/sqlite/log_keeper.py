"""Keeping the write-ahead log of a SQLite database short, beside the writer.

SQLite would copy the log into the database inside the COMMIT that makes it too long, and every caller of that commit
would wait for it. Here a thread and a connection of their own copy while commits go on. What was committed meanwhile is
little, so the writer copies it itself, between two commits: then all of the log is in the database, and the next commit
begins the log anew.

A reader of an old snapshot keeps the log from being begun anew for as long as it reads; it is then tried again from
time to time.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import apsw
import structlog

from app.state.sqlite.connection import SqliteConnection
from app.state.worker_threads import Crew

LONG = 4_000
"""Pages; the log's hot pages are rewritten many times before they are copied once."""
PATIENCE = 1_000
"""Pages that are written before the next attempt, while the log cannot be begun anew."""
FEW = 256
"""Pages that the writer may copy between two commits."""
FULL = 16 * LONG
"""Pages; the writer stops for a log of this length, whatever that takes, since the disk is not endless."""

_log: Any = structlog.get_logger(__name__)


class LogKeeper:
    """Decides who copies the log, and when. Its methods belong to the loop's thread, but for `after_commit`.

    `connect` opens a connection that may copy (on the keeper's thread) when the first is needed.
    """

    def __init__(self, connect: Callable[[], Any], thread: Crew) -> None:
        self._connect = connect
        self._thread = thread
        self._raw: Any = None
        self._copying = False
        self._next = LONG  # pages at which to begin
        self._rest = False  # the writer is to copy what is left

    def grew(self, pages: int) -> None:
        """The log had so many pages after a commit."""
        if pages < LONG:
            self._next = LONG
        elif pages >= self._next and not self._copying and not self._rest:
            self._next = pages + PATIENCE
            if pages < FULL:
                self._copying = True
                self._thread.submit(self._copy, self._copied)
            else:
                self._rest = True

    def after_commit(self, db: SqliteConnection) -> None:
        """On the writer's thread, before its next transaction: copy the rest of the log, if it is time."""
        if self._rest:
            self._rest = False
            try:
                db.copy_log()
            except apsw.Error as error:
                _warn(error)

    async def close(self) -> None:
        """Release connection and thread, after a copy that is under way."""
        await self._thread.run(self._disconnect)
        await self._thread.stop()

    def _copy(self) -> int:
        """On the keeper's thread: copy what is committed; how many pages came behind it."""
        if self._raw is None:
            self._raw = self._connect()
        length, copied = self._raw.wal_checkpoint(mode=apsw.SQLITE_CHECKPOINT_PASSIVE)
        return length - copied

    def _copied(self, left: int | None, error: BaseException | None) -> None:
        self._copying = False
        if isinstance(error, apsw.Error):
            _warn(error)
        elif error is not None:
            raise error
        elif left is not None and left <= FEW:
            self._rest = True
        else:
            self._next = 0  # much was committed meanwhile

    def _disconnect(self) -> None:
        raw, self._raw = self._raw, None
        if raw is not None:
            raw.close(True)


def _warn(error: apsw.Error) -> None:
    """Nothing is lost: the log keeps what could not be copied, and commits tell what is wrong with the disk."""
    _log.warning("database_log_not_copied", error=str(error))
