"""Which store a URL names."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

from app.domain.clock import Clock, system_clock
from app.domain.errors import StoreUnavailable
from app.domain.ids import IdSource
from app.state.port import HoldPolicy, Store
from app.state.sqlite.connection import MEMORY
from app.state.sqlite.store import SqliteStore

_POSTGRES = ("postgresql://", "postgres://")
_SQLITE = "sqlite://"


def open_store(
    place: str | Path,
    *,
    clock: Clock = system_clock,
    ids: Callable[[], IdSource] | None = None,
    policy: HoldPolicy | None = None,
    silence: timedelta | None = None,
) -> Store:
    """The store of a URL or path, not yet opened.

    `postgresql://…`, `sqlite:///relative.db`, `sqlite:////absolute.db`, `:memory:` (or `sqlite:///:memory:`), or the
    plain path of a file. `silence` is how long PostgreSQL and this server may hear nothing of each other. Raises
    StoreUnavailable for a URL of another kind.
    """
    text = str(place)
    if text.startswith(_POSTGRES):
        # The driver is loaded only where it is used.
        from app.state.postgres.keepalive import Silence
        from app.state.postgres.store import PostgresStore

        heard = None if silence is None else Silence(silence)
        return PostgresStore(text, clock=clock, ids=ids, policy=policy, silence=heard)
    if text.startswith(_SQLITE):
        text = text.removeprefix(_SQLITE).removeprefix("/") or MEMORY
    elif "://" in text:
        scheme = text.partition("://")[0]
        raise StoreUnavailable(f"{scheme}:// is no kind of database that is known; use postgresql:// or a file's path")
    return SqliteStore(text, clock=clock, ids=ids, policy=policy)
