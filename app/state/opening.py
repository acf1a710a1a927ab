"""From a store URL to the store that it names."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

from app.domain.audit import AuditSeal
from app.domain.clock import Clock, system_clock
from app.domain.errors import StoreUnavailable
from app.domain.ids import IdSource
from app.state.policies import HoldPolicy
from app.state.port import Store
from app.state.sqlite.connection import MEMORY
from app.state.sqlite.store import SqliteStore

_POSTGRES = ("postgresql://", "postgres://")
_SQLITE = "sqlite://"


def clock_of(url: str | Path) -> Clock:
    """Return the clock that counts for a store: the database's on PostgreSQL, elsewhere the machine's."""
    if str(url).startswith(_POSTGRES):
        from app.state.postgres.database_clock import DatabaseClock

        return DatabaseClock()
    return system_clock


def open_store(
    url: str | Path,
    *,
    clock: Clock = system_clock,
    ids: Callable[[], IdSource] | None = None,
    policy: HoldPolicy | None = None,
    keepalive_timeout: timedelta | None = None,
    seal: AuditSeal | None = None,
) -> Store:
    """Return the store that a URL or path names, not yet opened.

    `url` is `postgresql://…`, `sqlite:///relative.db`, `sqlite:////absolute.db`, `:memory:` (or
    `sqlite:///:memory:`), or the plain path of a file. `keepalive_timeout` is how long a connection to PostgreSQL may
    go without a packet before either end considers it dead; `seal` chains the audit log, which a store without one
    cannot write. Raises StoreUnavailable for any other URL.
    """
    text = str(url)
    if text.startswith(_POSTGRES):
        # Load the driver only where it is used.
        from app.state.postgres.keepalive import Keepalive
        from app.state.postgres.store import PostgresStore

        keepalive = None if keepalive_timeout is None else Keepalive(keepalive_timeout)
        return PostgresStore(text, clock=clock, ids=ids, policy=policy, keepalive=keepalive, seal=seal)
    if text.startswith(_SQLITE):
        text = text.removeprefix(_SQLITE).removeprefix("/") or MEMORY
    elif "://" in text:
        scheme = text.partition("://")[0]
        raise StoreUnavailable(f"{scheme}:// is not a supported database; use postgresql:// or the path of a file")
    return SqliteStore(text, clock=clock, ids=ids, policy=policy, seal=seal)
