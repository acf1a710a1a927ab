"""The deadlines of an attempt: lease, timeout and handle expiry. They are paused while its task is suspended.

`due_at` of an attempt is the first of its deadlines that counts now: the instant at which the timers look at it. A
heartbeat, explicit or implied by any call of the worker, renews lease and handle.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import sqlalchemy as sa

from app.domain.access import ENGINE
from app.domain.attempts import Attempt, Phase
from app.domain.clock import Instant
from app.engine.ops.queries import lock_task, queue_topic
from app.engine.ops.rules import EngineCfg
from app.state import schema
from app.state.state import State
from app.state.statements import Statement
from app.state.tables import ATTEMPTS

STARTED = (Phase.SPAWNING, Phase.RUNNING)
"""Phases in which lease and handle run out: before, nobody holds the attempt; a held Final needs no worker."""

RENEW_AT_MOST_EVERY_MS = 10_000
"""A heartbeat that would renew little is written at most this often."""

Columns = dict[str, Any]
"""Columns of an attempt's row that are still to be written."""


class Deadlines(NamedTuple):
    """The columns of a new attempt's deadlines."""

    lease_ms: int | None
    lease_expires_at: Instant | None
    timeout_at: Instant | None
    handle_expires_at: Instant
    due_at: Instant | None


_A = schema.attempts.c
_WHOLE_LEASE = sa.cast(sa.bindparam("at"), sa.BigInteger) + _A.lease_ms
_UNTIL = sa.case((_A.credential_ends_at < _WHOLE_LEASE, _A.credential_ends_at), else_=_WHOLE_LEASE)
_EXTEND_ALL = Statement(
    sa.update(schema.attempts)
    .where(_A.due_at.is_not(None), _A.lease_expires_at.is_not(None), _A.lease_expires_at < _WHOLE_LEASE)
    .values(
        lease_expires_at=_WHOLE_LEASE,
        handle_expires_at=sa.case((_A.handle_expires_at < _UNTIL, _UNTIL), else_=_A.handle_expires_at),
        due_at=sa.case((_A.timeout_at < _UNTIL, _A.timeout_at), else_=_UNTIL),
    )
)


def next_deadline(lease: Instant | None, timeout: Instant | None, handle: Instant) -> Instant:
    """Return the earliest of the three."""
    return min([instant for instant in (lease, timeout, handle) if instant is not None])


def unclaimed_deadline(timeout: Instant | None, end: Instant | None) -> Instant | None:
    """Return when an attempt is due that nobody holds: at its timeout or at the end of its credential's life."""
    return min((instant for instant in (timeout, end) if instant is not None), default=None)


def until(end: Instant | None, instant: Instant) -> Instant:
    """Return the instant, or the end of the credential's life if that comes before."""
    return instant if end is None else min(end, instant)


def handle_life_ms(cfg: EngineCfg, lease_ms: int | None) -> int:
    """Return how long a handle stays valid after a heartbeat."""
    return cfg.handle_life_ms if lease_ms is None else max(cfg.worker_token_life_ms, lease_ms)


# When an attempt is prepared, started and claimed


def at_dispatch(
    state: State,
    cfg: EngineCfg,
    *,
    phase: Phase,
    lease_ms: int | None,
    timeout_at: Instant | None,
    ends_at: Instant | None,
    outlives: bool,
) -> Deadlines:
    """Return the deadlines of a new attempt. `outlives`: its worker runs outside this server.

    Its credential ends at `ends_at` at the latest. The lease of such a worker begins when it was started, that of one
    in this process at once.
    """
    leased = phase is Phase.RUNNING or (phase is Phase.SPAWNING and not outlives)
    lease_at = state.now + lease_ms if lease_ms is not None and leased else None
    handle_at = until(ends_at, state.now + handle_life_ms(cfg, lease_ms))
    held = phase in STARTED
    due_at = next_deadline(lease_at, timeout_at, handle_at) if held else unclaimed_deadline(timeout_at, ends_at)
    if due_at is not None:
        state.due(due_at)
    return Deadlines(lease_ms, lease_at, timeout_at, handle_at, due_at)


def at_start(state: State, cfg: EngineCfg, attempt: Attempt, *, leased: bool = True) -> Columns:
    """Return the deadlines of an attempt whose worker may act from now on; they are paused if the task is suspended.

    Its handle's life begins now, and its lease with it unless it is not `leased` before it was started.
    """
    lease = state.now + attempt.lease_ms if leased and attempt.lease_ms is not None else None
    handle = until(attempt.credential_ends_at, state.now + handle_life_ms(cfg, attempt.lease_ms))
    columns = {"lease_expires_at": lease, "handle_expires_at": handle}
    if attempt.paused_at is None:
        due = next_deadline(lease, attempt.timeout_at, handle)
        state.due(due)
        return columns | {"due_at": due}
    return columns | {"timeout_at": _shifted(attempt.timeout_at, state.now - attempt.paused_at), "paused_at": state.now}


def at_claim(state: State, cfg: EngineCfg, attempt: Attempt, *, timeout_ms: int | None) -> Columns:
    """Return the deadlines of a queued attempt that a worker claims now."""
    lease_ms = attempt.lease_ms or cfg.lease_ms
    lease = state.now + lease_ms
    handle = until(attempt.credential_ends_at, state.now + handle_life_ms(cfg, attempt.lease_ms))
    timeout = state.now + timeout_ms if timeout_ms is not None else None
    due = next_deadline(lease, timeout, handle)
    state.due(due)
    return {
        "lease_ms": lease_ms,
        "lease_expires_at": lease,
        "timeout_at": timeout,
        "handle_expires_at": handle,
        "due_at": due,
        "last_seen_at": state.now,
    }


# While its task is suspended


def pause(state: State, attempt: Attempt) -> None:
    """Pause the clocks of a live attempt.

    A lease that is over and was not judged has its whole length left: the time may have been a gap.
    """
    if not attempt.is_live or attempt.paused_at is not None:
        return
    changes: Columns = {"paused_at": state.now, "due_at": None}
    lease, lease_ms = attempt.lease_expires_at, attempt.lease_ms
    if lease is not None and lease_ms is not None and lease <= state.now:
        changes["lease_expires_at"] = state.now + lease_ms
    ATTEMPTS.update(state.db, attempt.task_id, attempt.attempt, **changes)


def resume(state: State, attempt: Attempt) -> None:
    """Resume the clocks of a live attempt with the time that was left of each."""
    if not attempt.is_live or attempt.paused_at is None:
        return
    stood_ms = state.now - attempt.paused_at  # negative when the machine's clock was set back meanwhile
    lease = _shifted(attempt.lease_expires_at, stood_ms)
    timeout = _shifted(attempt.timeout_at, stood_ms)
    handle = until(attempt.credential_ends_at, attempt.handle_expires_at + stood_ms)
    held, ends_at = attempt.phase in STARTED, attempt.credential_ends_at
    due = next_deadline(lease, timeout, handle) if held else unclaimed_deadline(timeout, ends_at)
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
        state.wake(queue_topic(attempt.namespace, attempt.queue))


def _shifted(deadline: Instant | None, by_ms: int) -> Instant | None:
    return None if deadline is None else deadline + by_ms


# Heartbeats


def last_heartbeat(attempt: Attempt) -> Instant | None:
    """Return when the worker last sent a heartbeat; None while it need not send any."""
    if attempt.phase not in STARTED or attempt.paused_at is not None:
        return None
    return attempt.last_seen_at or attempt.started_at


def renewal_due(cfg: EngineCfg, heartbeat: Instant | None, lease_ms: int | None, now: Instant) -> bool:
    """Return whether to write a heartbeat that comes now: a tenth of the lease has passed since the last one."""
    return heartbeat is not None and now - heartbeat >= min(
        RENEW_AT_MOST_EVERY_MS, (lease_ms or cfg.handle_life_ms) // 10
    )


def renewal(cfg: EngineCfg, attempt: Attempt, now: Instant, *, always: bool = False) -> Columns:
    """Return the columns that a heartbeat sets; none when no renewal is due, unless `always`."""
    if not always and not renewal_due(cfg, last_heartbeat(attempt), attempt.lease_ms, now):
        return {}
    lease = now + attempt.lease_ms if attempt.lease_ms is not None else None
    handle = max(
        attempt.handle_expires_at, until(attempt.credential_ends_at, now + handle_life_ms(cfg, attempt.lease_ms))
    )
    return {
        "last_seen_at": now,
        "lease_expires_at": lease,
        "handle_expires_at": handle,
        "due_at": next_deadline(lease, attempt.timeout_at, handle),
    }


def record_heartbeat(state: State, cfg: EngineCfg, attempt: Attempt, *, always: bool = False) -> Attempt:
    """Renew lease and handle when that is due, or `always`; return the attempt with them."""
    if attempt.paused_at is None:
        columns = renewal(cfg, attempt, state.now, always=always)
    else:
        columns = _renewal_in_pause(cfg, attempt, attempt.paused_at)
    if not columns:
        return attempt
    ATTEMPTS.update(state.db, attempt.task_id, attempt.attempt, **columns)
    return attempt._replace(**columns)


def _renewal_in_pause(cfg: EngineCfg, attempt: Attempt, paused_at: Instant) -> Columns:
    """Return the columns that a heartbeat sets while the clocks are paused: the whole lease is left when they resume.

    None after the first heartbeat of a pause.
    """
    renewed = renewal(cfg, attempt, paused_at, always=True)
    columns = {name: renewed[name] for name in ("lease_expires_at", "handle_expires_at")}
    return columns if any(getattr(attempt, name) != value for name, value in columns.items()) else {}


def expires_at(attempt: Attempt, now: Instant) -> Instant:
    """Return when the lease (or else the handle) expires; of a paused one, if its clocks resumed now."""
    expires = attempt.lease_expires_at or attempt.handle_expires_at
    return expires if attempt.paused_at is None else expires + now - attempt.paused_at


def record_heartbeat_of(state: State, cfg: EngineCfg, task_id: str, number: int, *, epoch: int | None = None) -> None:
    """Lock the attempt and record a heartbeat; nothing when it is gone, over, or driven under another epoch."""
    lock_task(state, task_id, ENGINE)
    attempt = ATTEMPTS.get(state.db, task_id, number)
    if attempt is not None and epoch in (None, attempt.epoch):
        record_heartbeat(state, cfg, attempt)


def extend_all(state: State) -> int:
    """Give every leased worker one whole lease from now, and return how many there are.

    While no server ran, heartbeats could not arrive. Timeouts are not extended.
    """
    return _EXTEND_ALL.change(state.db, at=state.now)
