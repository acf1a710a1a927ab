"""What could not be done now and may succeed later."""

from __future__ import annotations

from app.domain.errors.root import Busy


class LockBusy(Busy):
    """`with_state` under `try_only` found the state in use."""

    code = "lock-busy"

    def __init__(self, op: str) -> None:
        super().__init__(op)
        self.op = op

    def __str__(self) -> str:
        return f"The state is in use by another operation, and {self.op} was asked not to wait. Try again."


class LockBusyAfterRetry(Busy):
    """Contention outlasted every retry."""

    code = "lock-busy"

    def __init__(self, op: str, retries: int) -> None:
        super().__init__(op, retries)
        self.op = op
        self.retries = retries

    def __str__(self) -> str:
        return f"The state stayed in use after {self.retries} retries of {self.op}. Try again a little later."


class MaxHoldExceeded(Busy):
    """A transaction function ran longer than `max_hold` while `max_hold_panic` is set; nothing of it was kept."""

    code = "max-hold-exceeded"

    def __init__(self, op: str, held_ms: float, max_hold_ms: float) -> None:
        super().__init__(op, held_ms, max_hold_ms)
        self.op = op
        self.held_ms = held_ms
        self.max_hold_ms = max_hold_ms

    def __str__(self) -> str:
        return (
            f"{self.op} held the state for {self.held_ms:.1f} ms, longer than the allowed {self.max_hold_ms:.1f} ms; "
            "nothing of it was kept. Do less in one operation, or raise max_hold."
        )


class StoreUnavailable(Busy):
    """The database cannot be reached or written.

    Nothing of the operation was kept; but when `unsure`, the connection broke during the commit and nobody knows.
    """

    code = "store-unavailable"

    def __init__(self, reason: str, *, unsure: bool = False) -> None:
        super().__init__(reason)
        self.reason = reason
        self.unsure = unsure

    def __str__(self) -> str:
        if self.unsure:
            return f"The store broke while it was committing ({self.reason}). Look whether the change was kept."
        return f"The store cannot be used right now ({self.reason}). Nothing was changed; try again."


class LoopPaused(Busy):
    """A senior paused the loop: no new attempt starts until it is resumed."""

    code = "loop-paused"

    def __init__(self, by: str | None, since: int | None) -> None:
        super().__init__(by, since)
        self.by = by
        self.since = since

    def __str__(self) -> str:
        who = f" by {self.by}" if self.by else ""
        return f"The loop is paused{who}: no new attempt starts. Dispatch again after it is resumed, or with wait."
