"""Direct access to the database, for commands that work beside a running server or without one."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Generator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from app.bootstrap import private_files
from app.bootstrap.keyring import Keyring, open_keyring
from app.cli.exits import CommandFailed
from app.config import Settings
from app.domain.clock import system_clock
from app.domain.doors import Door
from app.domain.ids import IdSource

# The database's own packages take longer to load than most commands to run: they are loaded where they are used.
if TYPE_CHECKING:
    from app.state.state import State
    from app.state.statements import Connection

R = TypeVar("R")

_POSTGRES = ("postgresql://", "postgres://")
LOCK_TIMEOUT_MS = 5_000


def is_postgres(settings: Settings) -> bool:
    """Return whether the database is PostgreSQL; otherwise it is SQLite."""
    return settings.store_url.startswith(_POSTGRES)


def database_file(settings: Settings) -> Path:
    """Return the file of an SQLite database. Raises CommandFailed for a database in memory."""
    if not settings.database_files:
        raise CommandFailed("A database in memory exists only inside its server. Name a file or a PostgreSQL URL.")
    return settings.database_files[0]


@contextmanager
def connected(settings: Settings) -> Generator[Connection]:
    """Open a read-only connection to one snapshot, which takes no lock. Raises CommandFailed, StoreUnavailable."""
    if is_postgres(settings):
        from app.state.postgres.connection import PostgresConnection

        link = PostgresConnection(settings.store_url, IdSource(), lock_timeout_ms=LOCK_TIMEOUT_MS)
        link.begin_reading()
        try:
            yield link
        finally:
            link.close()
        return
    from app.state.sqlite.connection import SqliteReader, unavailable

    path = database_file(settings)
    if not path.is_file():
        raise CommandFailed(f"There is no database at {path} yet. Start a server, or name another --data-dir.")
    import apsw

    try:
        reader = SqliteReader.open(str(path))
    except apsw.Error as error:
        raise unavailable(error) from error
    reader.begin()
    try:
        yield reader
    finally:
        reader.end()
        reader.close()


def keyring(settings: Settings) -> Keyring:
    """Return the server's keys, which are created if need be. Raises StartFailed, StoreUnavailable."""
    if not is_postgres(settings):
        return open_keyring(settings.keys_path)
    from app.bootstrap.shared_ring import find_keyring

    return asyncio.run(find_keyring(settings))[0]


def existing_keyring(settings: Settings) -> Keyring | None:
    """Return the server's keys, or None if there are none yet; takes no lock. Raises StartFailed, StoreUnavailable."""
    if not is_postgres(settings):
        return open_keyring(settings.keys_path) if settings.keys_path.exists() else None
    from app.bootstrap import shared_ring
    from app.bootstrap.seals import Seals

    found = sealed_ring(settings)
    return None if found is None else shared_ring.unsealed(found, Seals.of(settings))


def sealed_ring(settings: Settings) -> str | None:
    """Return the sealed keys of a PostgreSQL database, or None if it has none yet. Raises StoreUnavailable."""
    from app.bootstrap.shared_ring import KEY_RING
    from app.state import migrations
    from app.state.tables import get_meta

    with connected(settings) as link:
        return None if migrations.version(link) is None else get_meta(link, KEY_RING)


def without_keys(settings: Settings) -> str:
    """Return the statement that the server has no keys yet, for errors."""
    place = "in the database" if is_postgres(settings) else f"at {settings.keys_path}"
    return f"There are no keys {place}"


def change_beside(settings: Settings, fn: Callable[[State], R]) -> R:
    """Run a function of the state in one transaction on PostgreSQL, whether or not servers run.

    It announces nothing to them. Raises StoreUnavailable, and what `fn` raises.
    """
    from app.state.postgres.connection import PostgresConnection
    from app.state.state import State, even_jitter

    link = PostgresConnection(settings.store_url, IdSource(), lock_timeout_ms=LOCK_TIMEOUT_MS)
    try:
        link.begin()
        state = State(link, now=system_clock(), ids=link.ids, jitter=even_jitter)
        state.door = Door.CLI
        result = fn(state)
        state.flush()
        link.commit()
        return result
    finally:
        link.close()


def read(settings: Settings, fn: Callable[[State], R]) -> R:
    """Run a function of the state on a snapshot.

    Raises StoreUnavailable, and CommandFailed for a missing database or one of another version.
    """
    from app.state import migrations
    from app.state.state import State, even_jitter

    with connected(settings) as link:
        found, head = migrations.version(link), migrations.head()
        if found != head:
            raise CommandFailed(
                f"The database is at version {found or 'none'}, this command's is {head}. "
                "Run `swarmhold migrate` while no server runs, or use the version that fits."
            )
        return fn(State(link, now=system_clock(), ids=IdSource(), jitter=even_jitter))


def change(settings: Settings, op: str, fn: Callable[[State], R]) -> R:
    """Run a function of the state in one transaction, while no server uses the database.

    Raises StoreUnavailable, which names the server that has it, and StartFailed for files that others may have placed.
    """
    from app.engine.ops import audit
    from app.state.opening import open_store

    if not is_postgres(settings):
        private_files.open_data_directory(settings)

    seal = keyring(settings).seal()

    def run(state: State) -> R:
        state.door = Door.CLI
        audit.seal_before(state)
        return fn(state)

    async def once() -> R:
        store = open_store(settings.store_url, seal=seal)
        await store.open()
        try:
            return await store.transact(op, run)
        finally:
            await store.close()

    return asyncio.run(once())
