"""The key ring of a PostgreSQL database: sealed in a row, read by every node, and read again when it changes.

Where the database has none yet, that of the data directory is taken over, or a new one made, by the node that comes
first.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import structlog

from app.bootstrap import private_files
from app.bootstrap.errors import StartFailed
from app.bootstrap.keyring import Keyring, dump_ring, given_root_key, load_ring, make_root_key, open_keyring
from app.bootstrap.seals import Seals
from app.config import Settings
from app.domain.errors import Busy
from app.engine.engine import Engine
from app.engine.ops import credentials
from app.state.opening import open_store
from app.state.port import Store
from app.state.state import State
from app.state.tables import create_meta, get_meta, set_meta

PLACE = "the database"
KEY_RING = "key_ring"
"""Name of the row of `meta` that has the ring."""
_LOOK_EVERY_S = 2.0
_LOOK_AGAIN_S = 1.0
"""Pause between two reads for tokens whose key is unknown, however many come."""

_log = structlog.get_logger(__name__)


def stored(state: State) -> str | None:
    """Return the sealed ring, or None where there is none yet."""
    return get_meta(state.db, KEY_RING)


def unsealed(text: str, seals: Seals) -> Keyring:
    """Return the ring of a sealed text. Raises StartFailed."""
    return load_ring(seals.unseal(text), PLACE)


def change(state: State, seals: Seals, fn: Callable[[Keyring], Keyring]) -> Keyring:
    """Replace the ring by what `fn` makes of it, sealed with the current key; return it. Raises StartFailed."""
    found = get_meta(state.db, KEY_RING, lock=True)
    if found is None:
        raise StartFailed("The database has no keys yet. Start a server with it first.")
    ring = fn(unsealed(found, seals))
    set_meta(state.db, KEY_RING, seals.seal(dump_ring(ring)))
    return ring


async def find_keyring(settings: Settings) -> tuple[Keyring, str | None]:
    """Return the server's ring, and its sealed text where it is in the database: on PostgreSQL.

    It is created if need be, and the database brought up to date. Raises StartFailed, StoreUnavailable.
    """
    if not settings.store_url.startswith(("postgresql://", "postgres://")):
        return open_keyring(settings.keys_path), None
    store = open_store(settings.store_url, keepalive_timeout=settings.database_keepalive_timeout)
    await store.open()
    try:
        return await open_ring(store, settings)
    finally:
        await store.close()


async def open_ring(store: Store, settings: Settings) -> tuple[Keyring, str]:
    """Return the database's ring and its sealed text, after creating it if need be. Raises StartFailed, Busy."""
    found = await store.read(stored)
    if found is None:
        found = await _create(store, settings)
    return unsealed(found, Seals.of(settings)), found


async def _create(store: Store, settings: Settings) -> str:
    ring = _ring_of_file(settings.keys_path)
    used, has_root = await store.read(lambda state: (bool(credentials.list_keys(state)), credentials.has_root(state)))
    if ring is None and used:
        raise StartFailed(
            f"The database was used with keys that lie in a data directory, and {settings.keys_path} does not exist. "
            "Copy that file there from the server which had the database, or start that one first: then they are in "
            "the database for every node."
        )
    seals = Seals.of(settings)
    if seals.current is None and given_root_key(settings) is None and not has_root:
        make_root_key(settings)
        seals = Seals.of(settings)
    sealed = seals.seal(dump_ring(ring or Keyring.generate()))
    if await store.transact("create_key_ring", lambda state: create_meta(state.db, KEY_RING, sealed)):
        _log.info("key_ring_created", taken_over_from=None if ring is None else str(settings.keys_path))
    return await store.read(stored) or sealed


def _ring_of_file(path: Path) -> Keyring | None:
    content = private_files.read(path)
    return None if content is None else load_ring(content, str(path))


class RingWatch:
    """Keeps a node's keys those of the database. `sealed` is the text of the ring that the engine has."""

    def __init__(self, engine: Engine, settings: Settings, sealed: str) -> None:
        self._engine = engine
        self._seals = Seals.of(settings)
        self._sealed = sealed
        self._looking: asyncio.Task[None] | None = None
        self._looked_at = float("-inf")
        self._running: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Look for a changed ring from now on, and at once when a token names an unknown key."""
        self._engine.transactions.on_unknown_key(self.look_soon)
        self._running = asyncio.get_running_loop().create_task(self._run(), name="key-ring")

    async def stop(self) -> None:
        """Stop looking."""
        for task in (self._running, self._looking):
            if task is not None:
                task.cancel()
                await asyncio.wait([task])

    async def _run(self) -> None:
        while True:
            await asyncio.sleep(_LOOK_EVERY_S)
            try:
                await self.look()
            except Busy as error:
                _log.debug("key_ring_not_read", reason=str(error))
            except Exception:  # noqa: BLE001 - without this loop the node would sign with an old key for ever
                _log.exception("key_ring_failed")

    def look_now(self) -> None:
        """Look once more, soon."""
        if self._running is not None:
            self._looking = asyncio.get_running_loop().create_task(self._look_later())

    async def note_audit_sealed(self) -> None:
        """Record that the audit log's rows from before there were keys are sealed. Raises StartFailed, Busy."""

        def note(state: State) -> None:
            change(state, self._seals, lambda ring: replace(ring, audit_sealed=True))

        await self._engine.transactions.run("note_audit_sealed", note)

    async def look(self) -> bool:
        """Read the ring and use it if it has changed; return whether it has. Raises Busy."""
        found = await self._engine.transactions.read(stored)
        if found is None or found == self._sealed:
            return False
        try:
            ring = unsealed(found, self._seals)
        except StartFailed as error:
            _log.error("key_ring_unreadable", reason=str(error))
            return False
        self._engine.signer.use_ring(ring.signing)
        self._engine.parts.seal.use_keys(ring.audit)
        self._sealed = found
        _log.info("keys_reloaded", signing=ring.signing[0].kid, verifying=len(ring.signing))
        return True

    async def look_soon(self) -> bool:
        """Look as soon as the last look is a second ago, together with all others that wait for it. Raises Busy.

        Return whether the ring in use is another one than at the call.
        """
        before, under_way = self._sealed, self._looking
        if under_way is not None and not under_way.done():
            # It may have read before the ring was changed.
            await asyncio.shield(under_way)
        if self._sealed == before:
            if self._looking is None or self._looking.done():
                self._looking = asyncio.get_running_loop().create_task(self._look_later())
            await asyncio.shield(self._looking)
        return self._sealed != before

    async def _look_later(self) -> None:
        loop = asyncio.get_running_loop()
        await asyncio.sleep(max(0.0, self._looked_at + _LOOK_AGAIN_S - loop.time()))
        self._looked_at = loop.time()
        await self.look()
