"""The clocks of an attempt: lease, timeout and handle, which stand still while the task is suspended."""

from __future__ import annotations

from typing import Any

from app.domain.attempts import Attempt, Phase
from app.domain.clock import Instant
from app.engine.ops.rules import EngineCfg
from app.state.state import State
from app.state.tables import ATTEMPTS

TICKING = (Phase.SPAWNING, Phase.RUNNING)
"""Phases in which a sign of life means something; nobody holds what waits, and a held Final needs no worker."""

SEEN_EVERY_MS = 10_000
"""A sign of life is written at most this often when it renews nothing."""


def next_due(lease: int | None, timeout: int | None, handle: int) -> int:
    """The first of the three."""
    return min(instant for instant in (lease, timeout, handle) if instant is not None)


def pause(state: State, attempt: Attempt) -> None:
    """Stop the clocks of a live attempt."""
    if attempt.is_live and attempt.paused_at is None:
        ATTEMPTS.update(state.db, attempt.task_id, attempt.attempt, paused_at=state.now, due_at=None)


def resume(state: State, attempt: Attempt) -> None:
    """Let the clocks go on with what was left of each."""
    if not attempt.is_live or attempt.paused_at is None:
        return
    stood = state.now - attempt.paused_at  # less than nothing when the machine's clock was set back meanwhile
    lease = attempt.lease_expires_at + stood if attempt.lease_expires_at is not None else None
    timeout = attempt.timeout_at + stood if attempt.timeout_at is not None else None
    handle = attempt.handle_expires_at + stood
    due = next_due(lease, timeout, handle) if attempt.phase in TICKING else timeout
    ATTEMPTS.update(
        state.db,
        attempt.task_id,
        attempt.attempt,
        paused_at=None,
        lease_expires_at=lease,
        timeout_at=timeout,
        handle_expires_at=handle,
        due_at=due,
    )
    if due is not None:
        state.due(due)
    if attempt.phase is Phase.QUEUED and attempt.queue is not None:
        state.wake(f"queue:{attempt.queue}")


def life_ms(cfg: EngineCfg, lease_ms: int | None) -> int:
    """How long a handle lives after a sign of life."""
    return cfg.handle_life_ms if lease_ms is None else max(cfg.worker_token_life_ms, lease_ms)


def heard_at(attempt: Attempt) -> Instant | None:
    """The last sign of life; None while none is needed."""
    if attempt.phase not in TICKING or attempt.paused_at is not None:
        return None
    return attempt.last_seen_at or attempt.started_at


def is_worth_it(cfg: EngineCfg, heard: Instant | None, lease_ms: int | None, now: int) -> bool:
    """Whether a sign of life now is worth a write: a tenth of the lease or life has gone since the last."""
    return heard is not None and now - heard >= min(SEEN_EVERY_MS, (lease_ms or cfg.handle_life_ms) // 10)


def is_stale(cfg: EngineCfg, attempt: Attempt, now: int) -> bool:
    """The same of an attempt."""
    return is_worth_it(cfg, heard_at(attempt), attempt.lease_ms, now)


def renewal(cfg: EngineCfg, attempt: Attempt, now: int) -> dict[str, Any]:
    """The columns that a sign of life sets; none while the clocks stand still."""
    return forced_renewal(cfg, attempt, now) if is_stale(cfg, attempt, now) else {}


def forced_renewal(cfg: EngineCfg, attempt: Attempt, now: int) -> dict[str, Any]:
    """The same, whether or not it is worth a write: an explicit heartbeat."""
    lease = now + attempt.lease_ms if attempt.lease_ms is not None else None
    handle = max(attempt.handle_expires_at, now + life_ms(cfg, attempt.lease_ms))
    return {
        "last_seen_at": now,
        "lease_expires_at": lease,
        "handle_expires_at": handle,
        "due_at": next_due(lease, attempt.timeout_at, handle),
    }


def renew(state: State, cfg: EngineCfg, attempt: Attempt) -> None:
    """A sign of life: renew the lease and the handle when it is time to."""
    changes = renewal(cfg, attempt, state.now)
    if changes:
        ATTEMPTS.update(state.db, attempt.task_id, attempt.attempt, **changes)
