"""The port to the database: one method that writes, one that reads.

Both take a plain function of a `State`. `SqliteStore` (file or memory) and `PostgresStore` implement it; one contract
suite runs against all of them.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Protocol, TypeVar

from app.state.state import Effects, State

R = TypeVar("R")

CommitListener = Callable[[Effects], None]
"""A callback on the event loop's thread after each commit that has effects, before any caller resumes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class HoldPolicy:
    """How long an operation may hold the state, and how often it retries to get it.

    A contended operation is retried `max_retry` times, after pauses of `backoff_step_ms × n`; with `try_only` it is
    refused at once. An operation that holds the state longer than `max_hold_ms` is logged as a warning, or rolled back
    with MaxHoldExceeded when `max_hold_panic` is set.
    """

    try_only: bool = False
    max_retry: int = 3
    backoff_step_ms: float = 10.0
    max_hold_ms: float = 50.0
    max_hold_panic: bool = False

    @classmethod
    def strict(cls) -> HoldPolicy:
        """Return the policy that never waits and holds for at most 10 ms."""
        return cls(try_only=True, max_retry=0, max_hold_ms=10.0)

    @classmethod
    def relaxed(cls) -> HoldPolicy:
        """Return the policy of ten retries, 50 ms apart and growing, that holds for at most 200 ms."""
        return cls(max_retry=10, backoff_step_ms=50.0, max_hold_ms=200.0)

    def unbounded(self) -> HoldPolicy:
        """Return a copy for bulk operations, which may hold the state as long as they need."""
        return replace(self, max_hold_ms=math.inf, max_hold_panic=False)

    def warn_only(self) -> HoldPolicy:
        """Return a copy for reads: a long one is logged, since it delays others, but there is nothing to roll back."""
        return replace(self, max_hold_panic=False)


class Store(Protocol):
    """The database behind the engine."""

    async def open(self) -> None:
        """Connect, take the exclusive lock, and migrate.

        Raises StoreUnavailable when the database cannot be used or another server holds the lock.
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

    async def backup(self, target: str) -> None:
        """Write a consistent copy to the new file `target` while the server runs. Raises StoreUnavailable."""
        ...
