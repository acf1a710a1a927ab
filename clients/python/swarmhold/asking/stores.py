"""Where a run that waits for people is kept between processes."""

from __future__ import annotations

import asyncio
import json
import os
from dataclasses import dataclass
from pathlib import Path
from secrets import token_hex
from typing import Protocol


class Store(Protocol):
    """Keeps the state of one run, which may hold what its tools and its model said."""

    async def get(self) -> str | None:
        """Return what was put last; None before anything was."""
        ...

    async def put(self, state: str) -> None:
        """Replace the state; it is durable when this returns."""
        ...


AnyStore = Store | str | os.PathLike[str]
"""A store, or the path of a file that is one."""


@dataclass(slots=True)
class KeptRun:
    """A run and its latest state, None before the first. Its name is one in every process that goes on with it."""

    store: Store
    name: str
    state: str | None

    async def put(self, state: str) -> None:
        """Replace the state; it is durable when this returns."""
        await self.store.put(json.dumps({"run": self.name, "state": state}))
        self.state = state


async def kept_run(store: AnyStore) -> KeptRun:
    """Return the run of a store, or a new one."""
    kept = store_of(store)
    saved = json.loads(await kept.get() or "{}")
    return KeptRun(kept, saved.get("run") or token_hex(16), saved.get("state"))


def store_of(store: AnyStore) -> Store:
    """Return the store itself, or one that is a file of this path, which only its owner may read."""
    return _File(Path(store)) if isinstance(store, str | os.PathLike) else store


class _File:
    def __init__(self, path: Path) -> None:
        self._path = path

    async def get(self) -> str | None:
        try:
            return await asyncio.to_thread(self._path.read_text, encoding="utf-8")
        except FileNotFoundError:
            return None

    async def put(self, state: str) -> None:
        await asyncio.to_thread(self._write, state)

    def _write(self, state: str) -> None:
        new = self._path.with_name(f"{self._path.name}.new")
        descriptor = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            file.write(state)
            file.flush()
            os.fsync(file.fileno())
        new.replace(self._path)
