"""The port to the database: one method that writes, one that reads.

Both take a plain function of a `State`. `SqliteStore` (file or memory) and `PostgresStore` implement it; one contract
suite runs against all of them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Protocol, TypeVar

from app.domain.clock import Instant
from app.state.policies import HoldPolicy
from app.state.state import Effects, State
from app.state.worker_threads import Waits

R = TypeVar("R")

CommitListener = Callable[[Effects], None]
"""A callback on the event loop's thread after each commit that has effects, before any caller resumes."""


@dataclass(slots=True)
class StoreCounts:
    """Counts of a store since its process started. SQLite has neither pools of connections nor other nodes.

    `fenced_writes` counts changes that were refused because this node had been declared dead, `pool_waits` by pool
    the operations that found every connection busy.
    """

    fenced_writes: int = 0
    pool_waits: Mapping[str, Waits] = field(default_factory=dict[str, Waits])


class Store(Protocol):
    """The database behind the engine."""

    counts: StoreCounts
    names: dict[int, str | None]
    """The names of namespaces that this process knows, by id. They only grow: none is ever renamed or removed."""

    async def open(self) -> None:
        """Connect and migrate. A file is locked: SQLite has one node.

        Raises StoreUnavailable when the database cannot be used.
        """
        ...

    async def enter(self, node: str | None) -> None:
        """Let everything from now on be done by this node, whose row in `nodes` is committed and not marked as dead.

        Once the row is, nothing can be committed until it is called again; None is for the time until there is a row.
        Raises StoreUnavailable.
        """
        ...

    @property
    def fenced(self) -> bool:
        """Whether operations are refused because this node was declared dead."""
        ...

    async def end_sessions_of(self, node: str) -> None:
        """Return when nothing that a node has under way can be committed any more; its row says that it is dead.

        Raises StoreUnavailable.
        """
        ...

    async def without_sessions(self, nodes: Mapping[str, Instant]) -> list[str]:
        """Return which of these nodes are not connected, so that their processes are most likely gone.

        Each comes with its last heartbeat: a node without one since the database was started may still connect again.
        Raises StoreUnavailable.
        """
        ...

    async def close(self) -> None:
        """Finish accepted operations, refuse new ones, and release every resource. Safe to call twice."""
        ...

    def on_commit(self, listener: CommitListener) -> None:
        """Set the listener for effects; there is one, and a second call replaces it."""
        ...

    async def transact(
        self, op: str, fn: Callable[[State], R], *, policy: HoldPolicy | None = None, bulk: bool = False
    ) -> R:
        """Run `fn` in one transaction and return its result after the commit.

        All of `fn` happens or nothing: an exception from it rolls back and is raised here. `fn` may run again after a
        conflict, so it must have no effect outside its State. `bulk` marks an operation that may take long: unless
        given a policy, it may hold the state without limit. Cancelling the caller does not undo an operation that is
        under way. Raises LockBusy, LockBusyAfterRetry, MaxHoldExceeded, StoreUnavailable, and TypeError when `fn` is a
        coroutine function.
        """
        ...

    async def read(self, fn: Callable[[State], R], *, bulk: bool = False) -> R:
        """Run `fn` on a committed snapshot that includes everything acknowledged before this call.

        `bulk` marks a read that may take long. Raises TypeError when `fn` writes, and StoreUnavailable.
        """
        ...

    async def check(self) -> None:
        """Raise StoreUnavailable when the database cannot be read or written now."""
        ...

    @property
    def failures(self) -> int:
        """How many operations have failed with StoreUnavailable so far, whether or not a check has."""
        ...

    async def backup(self, target: str) -> None:
        """Write a consistent copy to the new file `target` while the server runs. Raises StoreUnavailable."""
        ...
