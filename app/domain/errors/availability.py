"""Calls that cannot be served now and may succeed later."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from app.domain.errors.base import Busy


@dataclass(eq=False)
class LockBusy(Busy):
    """`with_state` with `try_only` found the state in use."""

    code = "lock-busy"
    op: str

    def __str__(self) -> str:
        return f"The state is in use by another operation, and {self.op} was asked not to wait. Try again."


@dataclass(eq=False)
class LockBusyAfterRetry(Busy):
    """The state stayed in use through every retry."""

    code = "lock-busy"
    op: str
    retries: int

    def __str__(self) -> str:
        return f"The state stayed in use after {self.retries} retries of {self.op}. Try again a little later."


@dataclass(eq=False)
class MaxHoldExceeded(Busy):
    """A transaction function ran longer than `max_hold` while `max_hold_panic` is set; it was rolled back."""

    code = "max-hold-exceeded"
    op: str
    held_ms: float
    max_hold_ms: float

    def __str__(self) -> str:
        return (
            f"{self.op} held the state for {self.held_ms:.1f} ms, longer than the allowed {self.max_hold_ms:.1f} ms; "
            "it was rolled back. Do less in one operation, or raise max_hold."
        )


@dataclass(eq=False)
class StoreUnavailable(Busy):
    """The database cannot be reached or written.

    The operation was rolled back, unless `unsure`: the connection broke during the commit, whose result is unknown.
    """

    code = "store-unavailable"
    reason: str
    unsure: bool = field(default=False, kw_only=True)

    def __str__(self) -> str:
        if self.unsure:
            return f"The store failed during a commit ({self.reason}). Check whether the change was stored."
        return f"The store cannot be used right now ({self.reason}). Nothing was changed; try again."


@dataclass(eq=False)
class QuotaExceeded(Busy):
    """The caller has as many of something as one may have. `quota` is its name in the section `limits` of the settings.

    `clears`: the same call may succeed once fewer of them are left.
    """

    code = "quota-exceeded"
    quota: str
    limit: int
    clears: bool = field(default=True, kw_only=True)

    def fields(self) -> dict[str, Any]:
        """Return all fields but `clears`, which decides about Retry-After alone."""
        return {"quota": self.quota, "limit": self.limit}

    def __str__(self) -> str:
        todo = "Try again when there are fewer." if self.clears else "No more are taken."
        return f"The limit limits.{self.quota} of {self.limit} is reached. {todo}"


@dataclass(eq=False)
class Overloaded(Busy):
    """The server is receiving as much as it can hold. `quota` is the limit's name in the section `limits`."""

    code = "overloaded"
    quota: str
    limit: int

    def __str__(self) -> str:
        return f"The server is receiving as many bytes as limits.{self.quota} allows ({self.limit}). Try again later."


@dataclass(eq=False)
class LoopPaused(Busy):
    """A senior paused dispatching: no new attempt starts until it is resumed."""

    code = "loop-paused"
    by: str | None
    since: int | None

    def __str__(self) -> str:
        who = f" by {self.by}" if self.by else ""
        return f"Dispatching is paused{who}: no new attempt starts. Dispatch again after it is resumed, or with wait."
