"""The port to the database: one doorway for writes, one for reads.

Both take a plain function of a `State`. Implementations: `SqliteStore` (file or memory) and `PostgresStore`; one
contract suite holds for all.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Protocol, TypeVar

from app.state.state import Effects, State

R = TypeVar("R")

Committed = Callable[[Effects], None]
"""Called on the event loop's thread after each commit that has effects, before any caller resumes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class HoldPolicy:
    """How long an operation may hold the state, and how patiently it waits for it.

    `max_retry` retries follow a contended first try, `backoff_step_ms × n` apart. An operation that holds the
    state longer than `max_hold_ms` is warned of, or rolled back with MaxHoldExceeded when `max_hold_panic` is set.
    """

    try_only: bool = False
    max_retry: int = 3
    backoff_step_ms: float = 10.0
    max_hold_ms: float = 50.0
    max_hold_panic: bool = False

    @classmethod
    def strict(cls) -> HoldPolicy:
        """Never wait; hold for at most 10 ms."""
        return cls(try_only=True, max_retry=0, max_hold_ms=10.0)

    @classmethod
    def relaxed(cls) -> HoldPolicy:
        """Ten retries 50 ms apart and growing; hold for at most 200 ms."""
        return cls(max_retry=10, backoff_step_ms=50.0, max_hold_ms=200.0)

    def unbounded(self) -> HoldPolicy:
        """The same for bulk operations, which may hold the state as long as they need."""
        return replace(self, max_hold_ms=math.inf, max_hold_panic=False)

    def warning(self) -> HoldPolicy:
        """The same for reads: a long one is warned of, since it holds up others, but it has nothing to roll back."""
        return replace(self, max_hold_panic=False)


class Store(Protocol):
    """The database behind the engine."""

    async def open(self) -> None:
        """Connect, take the exclusive lock, and migrate. Raises StoreUnavailable when another process holds it."""
        ...

    async def close(self) -> None:
        """Finish what was accepted, refuse what comes, release everything. Safe to call twice."""
        ...

    def on_commit(self, listener: Committed) -> None:
        """Set the one listener for effects."""
        ...

    async def transact(
        self, op: str, fn: Callable[[State], R], *, policy: HoldPolicy | None = None, bulk: bool = False
    ) -> R:
        """Run `fn` in one transaction and return its result after the commit.

        All of `fn` happens or nothing: an exception from it rolls back and is raised here. `fn` may be run again
        after a conflict, so it must do nothing but work on its State. `bulk` marks an operation that may take
        long: without a policy of its own nobody minds how long it holds. Cancelling the caller does not undo an
        operation that is under way. Raises LockBusy, LockBusyAfterRetry, MaxHoldExceeded, StoreUnavailable;
        TypeError when `fn` is a coroutine function.
        """
        ...

    async def read(self, fn: Callable[[State], R], *, bulk: bool = False) -> R:
        """Run `fn` on a committed snapshot that includes everything acknowledged before this call.

        A write raises TypeError. `bulk` marks a read that may take long.
        """
        ...

    async def check(self) -> None:
        """Raise StoreUnavailable when the database cannot be read or written now."""
        ...

    async def backup(self, target: str) -> None:
        """Write a consistent copy beside the running server. Raises StoreUnavailable."""
        ...
