"""Moving the clocks of workers and sessions by a time in which no heartbeat could be recorded."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any, NamedTuple

import sqlalchemy as sa

from app.domain.clock import Instant
from app.engine.ops.leases import next_deadline, until
from app.state import schema
from app.state.health_check import last_checked_at
from app.state.state import State
from app.state.statements import Statement
from app.state.tables import get_meta, set_meta

_A, _S = schema.attempts.c, schema.sessions.c
_AFTER = sa.tuple_(_A.task_id, _A.attempt) > sa.tuple_(sa.bindparam("task_id"), sa.bindparam("number"))


_COLUMNS = (
    _A.task_id,
    _A.attempt,
    _A.lease_expires_at,
    _A.timeout_at,
    _A.handle_expires_at,
    _A.due_at,
    _A.last_seen_at,
    _A.started_at,
    _A.credential_ends_at,
)
_ONE = Statement(
    sa.select(*_COLUMNS).where(
        _A.task_id == sa.bindparam("of_task"), _A.attempt == sa.bindparam("of_number"), _A.due_at.is_not(None)
    )
)


def _page(detached: int) -> Statement:
    open_here = sa.text(f"phase <> 'ended' AND detached = {detached}")
    return Statement(
        sa.select(*_COLUMNS)
        .where(open_here, _A.due_at.is_not(None), _AFTER)
        .order_by(_A.task_id, _A.attempt)
        .limit(sa.bindparam("limit", type_=sa.Integer))
    )


_PAGES = (_page(0), _page(1))
# An attempt that was renewed since it was read has another instant at which it is due, and is left alone.
_SHIFT = Statement(
    sa.update(schema.attempts)
    .where(
        _A.task_id == sa.bindparam("of_task"),
        _A.attempt == sa.bindparam("of_number"),
        _A.due_at == sa.bindparam("was_due"),
    )
    .values(
        lease_expires_at=sa.bindparam("lease"),
        handle_expires_at=sa.bindparam("handle"),
        due_at=sa.bindparam("due"),
        last_seen_at=sa.bindparam("seen"),
    )
)
_SHIFT_SESSIONS = Statement(
    sa.update(schema.sessions)
    .where(_S.attached == 1, _S.last_seen > sa.bindparam("after"), _S.last_seen <= sa.bindparam("until"))
    .values(last_seen=_S.last_seen + sa.bindparam("by", type_=sa.BigInteger))
)
_EVER = 2**62
_MOVED = "gap_moved"
"""The gap by which clocks were moved last: its start, its end, and the jump of the clock in it."""
_ALIKE_MS = 1_000
"""By how much nodes may differ in what they say of one jump of the database's clock."""
_SOON_MS = 60_000
"""Within what time the ends of two gaps lie for which a jump counts as one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Shift:
    """By how much clocks move, and whose: those with their last heartbeat later than `after` and up to `until`.

    None of the leases that move ends before `not_before`.
    """

    by_ms: int
    not_before: Instant = -_EVER
    after: Instant = -_EVER
    until: Instant = _EVER

    def concerns(self, heartbeat: Instant) -> bool:
        """Return whether clocks with this last heartbeat move."""
        return self.after < heartbeat <= self.until


class Position(NamedTuple):
    """The position at which the next page of attempts begins."""

    part: int
    task_id: str
    attempt: int


FIRST = Position(0, "", 0)


def shift_attempts(state: State, position: Position, limit: int, shift: Shift) -> Position | None:
    """Move lease and handle of a page of attempts; return where the next page begins, None after the last.

    Timeouts stay: they are instants that callers were promised.
    """
    part, task_id, number = position
    rows = _PAGES[part].query(state.db, task_id=task_id, number=number, limit=limit)
    for row in rows:
        _shift_attempt(state, row, shift)
    if len(rows) == limit:
        return Position(part, rows[-1][0], rows[-1][1])
    return None if part + 1 == len(_PAGES) else Position(part + 1, "", 0)


def shift_attempt(state: State, task_id: str, number: int, shift: Shift) -> None:
    """Move lease and handle of one attempt."""
    for row in _ONE.query(state.db, of_task=task_id, of_number=number):
        _shift_attempt(state, row, shift)


def _shift_attempt(state: State, row: tuple[Any, ...], shift: Shift) -> None:
    task_id, number, lease, timeout, handle, due, seen, started, ends = row
    heartbeat: Instant = started if seen is None else seen
    if not shift.concerns(heartbeat):
        return
    lease = None if lease is None else max(lease + shift.by_ms, shift.not_before)
    handle = until(ends, handle + shift.by_ms)
    if shift.by_ms < 0:
        # The last heartbeat lies in the future of a clock that was set back; none would renew the lease until then.
        seen = heartbeat + shift.by_ms
    # One that nobody holds has no other instant to wait for than the end of its credential.
    due_at = ends if ends is not None and due == ends else next_deadline(lease, timeout, handle)
    state.due(due_at)
    _SHIFT.change(
        state.db, of_task=task_id, of_number=number, was_due=due, lease=lease, handle=handle, due=due_at, seen=seen
    )


def shift_sessions(state: State, shift: Shift) -> int:
    """Move the last heartbeat of attached sessions; return how many they are."""
    return _SHIFT_SESSIONS.change(state.db, after=shift.after, until=shift.until, by=shift.by_ms)


def downtime(state: State) -> tuple[Instant, Instant] | None:
    """Return from when to when no server process had this database open; None for a new database."""
    since = last_checked_at(state.db)
    return None if since is None or since >= state.now else (since, state.now)


def claim(state: State, *, started_at: Instant, ended_at: Instant, jump_ms: int) -> int:
    """Let this node move the clocks by a gap; return by how much another node, which had it too, moved them already."""
    start, end, jumped_ms = json.loads(get_meta(state.db, _MOVED, lock=True) or "[0, 0, 0]")
    moved_ms = max(0, min(ended_at, end) - max(started_at, start))
    if moved_ms:
        set_meta(state.db, _MOVED, json.dumps([min(start, started_at), max(end, ended_at), jump_ms]))
    else:
        set_meta(state.db, _MOVED, json.dumps([started_at, ended_at, jump_ms]))
    if jump_ms:
        same = abs(jumped_ms - jump_ms) <= _ALIKE_MS and abs(ended_at - end) < _SOON_MS
        return abs(jump_ms) if same else 0
    return moved_ms
