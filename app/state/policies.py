"""Settings of a store: how long an operation may hold it, and for how long finished rows are kept."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from datetime import timedelta


@dataclass(frozen=True, slots=True, kw_only=True)
class HoldPolicy:
    """How long an operation may hold the state, and how long it waits for a contended one."""

    try_only: bool = False
    """Whether an operation that finds the state contended fails at once instead of waiting."""
    max_retry: int = 3
    """Retries after a contended first try."""
    backoff_step_ms: float = 10.0
    """Pause before the first retry; the n-th is n times as long."""
    max_hold_ms: float = 50.0
    """How long one operation may hold the state before it is logged, or rolled back under `max_hold_panic`."""
    max_hold_panic: bool = False
    """Whether an operation beyond `max_hold` is rolled back and fails with `max-hold-exceeded`."""

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


@dataclass(frozen=True, slots=True, kw_only=True)
class RetentionPolicy:
    """For how long finished things are kept; None is for ever."""

    finished: timedelta | None = timedelta(days=30)
    """How long passed and cancelled tasks are kept."""
    blocked: timedelta | None = timedelta(days=90)
    """How long blocked tasks are kept, which could be tried again."""
    events: timedelta | None = timedelta(days=30)
    """How long events are kept."""
    credentials: timedelta | None = timedelta(days=7)
    """How long tokens are kept after their expiry, and handles after the end of their attempt."""
    sessions: timedelta | None = timedelta(days=30)
    """How long sessions are kept after their expiry."""
    idempotency: timedelta | None = timedelta(days=1)
    """How long idempotency keys are kept; those of tasks and questions from when their task is deleted."""
    audit: timedelta | None = None
    """How long the audit log is kept; what is removed leaves a mark with which the rest still verifies."""
