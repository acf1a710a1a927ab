"""Gaps: periods in which this server could record no heartbeats, and for which its clocks are moved.

A gap is a stalled event loop, a stopped process, a machine asleep, a database that is away, does not answer or refuses
some operations (as on a full disk), or a jump of the machine's clock. Leases, handles and the heartbeats of sessions
move by the gap before anything expires. Deadlines of questions, attempt timeouts and retries stay where they are, but
what fell due within a gap is postponed for as long as the gap lasted, `MAX_GRACE_MS` at most, so that calls which could
not arrive come first.

Where there are several nodes, workers and sessions may send their heartbeats to any of them: a gap of one node moves
nothing if another one has recorded heartbeats all the time. Until that is known nothing is judged here. Of a gap that
all nodes had, one moves the clocks.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from typing import Protocol

import structlog

from app.domain.clock import Clock, Instant, running_ms, system_clock
from app.domain.errors import Busy
from app.engine.ops import gaps
from app.engine.ops.gaps import Shift
from app.engine.transactions import Transactions
from app.state.port import Store

TICK_S = 0.5
"""How often the server checks that it can record heartbeats: its loop runs, and its database answers."""
TOLERANCE_MS = 500
"""A tick that is late by no more than this is no gap."""
MAX_GRACE_MS = 30_000
RETURN_MS = 5_000
"""No lease ends sooner after a gap: Retry-After asks workers that were refused to come back later."""
_BATCH = 500
_REMEMBERED = 100
"""Gaps whose grace may still run: it lasts half a minute, and a gap takes more than a tick."""

_log = structlog.get_logger(__name__)


MachineClocks = Callable[[], tuple[Instant, int]]
"""Returns the wall clock and a monotonic clock, both in milliseconds."""


def machine_clocks(clock: Clock = system_clock) -> tuple[Instant, int]:
    """Return the wall clock and a monotonic one that counts the machine's sleep."""
    return clock(), running_ms()


@dataclass(frozen=True, slots=True)
class Gap:
    """No heartbeat could be recorded from `started_at` to `ended_at` (wall clock); `shift` makes up for it.

    `jump_ms` is by how much the clock jumped.
    """

    started_at: Instant
    ended_at: Instant
    shift: Shift
    jump_ms: int = 0

    @property
    def grace_until(self) -> Instant:
        """Until when work that fell due within the gap is postponed."""
        return self.ended_at + min(MAX_GRACE_MS, abs(self.shift.by_ms))


class Peers(Protocol):
    """The other nodes, as far as gaps go."""

    async def others_alive(self) -> bool:
        """Return whether any other node is alive."""
        ...

    async def covered(self, started_at: Instant, ended_at: Instant) -> bool | None:
        """Return whether another node recorded heartbeats for all of this time; None while that is unknown."""
        ...


class GapMonitor:
    """Notices gaps and moves the clocks. Call `catch_up` before anything is judged by the absence of a heartbeat."""

    def __init__(
        self,
        transactions: Transactions,
        *,
        store: Store,
        peers: Peers,
        clocks: MachineClocks = machine_clocks,
    ) -> None:
        """An operation that the `store` refused may have been a heartbeat: the time in which it did so is a gap."""
        self._transactions = transactions
        self._store = store
        self._failures = store.failures
        self._clocks = clocks
        self._last = clocks()
        self._pending: list[Gap] = []
        self._recent: list[Gap] = []
        self._catching_up = asyncio.Lock()
        self.recording = True
        """Whether heartbeats can arrive. A server sets it once it listens: the time before is a gap that goes on."""
        self.lag_s = 0.0
        """By how much the latest tick was late: what the event loop was busy with."""
        self.check_s = 0.0
        """How long the database took for the latest check: a read, and now and then a write."""
        self._peers = peers
        transactions.on_expired(self.settle)
        self._recording_since = self._last[1]

    @property
    def recorded_for_ms(self) -> int:
        """For how long there was no gap, up to the last check."""
        return self._last[1] - self._recording_since

    async def begin(self) -> None:
        """Treat the time since the last node as a gap, except for leases: recovery renews those."""
        span = None if await self._peers.others_alive() else await self._transactions.read(gaps.downtime)
        if span is not None:
            gap = Gap(*span, Shift(by_ms=span[1] - span[0]))
            self._recent.append(gap)
            await self._shift_sessions(gap)
        await self._store.check()
        self._last = self._clocks()
        self._recording_since = self._last[1]

    async def run(self) -> None:
        """Look for gaps until cancelled."""
        while True:
            slept_from = time.perf_counter()
            await asyncio.sleep(TICK_S)
            woke_at = time.perf_counter()
            self.lag_s = max(0.0, woke_at - slept_from - TICK_S)
            try:
                await self.catch_up()
                self.check_s = time.perf_counter() - woke_at
            except Busy:
                continue  # the outage is a gap that has not ended; the calls that need the store report it
            except Exception:  # noqa: BLE001 - without this loop workers would lose their leases to an outage
                _log.exception("gap_check_failed")

    async def catch_up(self) -> bool:
        """Move the clocks by every gap until now; return whether there was one. Raises Busy while the store is away.

        While it is unknown whether another node recorded heartbeats in a gap, that gap stays pending. While no
        heartbeat can arrive, the gap goes on and nothing moves.
        """
        if not self.recording:
            return False
        async with self._catching_up:
            await self._store.check()
            self._notice()
            moved = False
            while self._pending:
                gap = self._pending[0]
                covered = await self._peers.covered(gap.started_at, gap.ended_at)
                if covered is None:
                    break
                if not covered:
                    await self._move(gap)
                    self._recent = [*self._recent[1 - _REMEMBERED :], gap]
                    moved = True
                self._pending.pop(0)
            return moved

    async def settle(self) -> bool:
        """Wait until no gap is pending; return whether there was one that moved clocks. Raises as `catch_up`."""
        moved = await self.catch_up()
        while self._pending:
            await asyncio.sleep(TICK_S)
            moved |= await self.catch_up()
        return moved

    def is_current(self) -> bool:
        """Return whether no gap can have come since the last check; otherwise nothing may be judged before the next.

        The process may be stopped, or the store refuse a heartbeat, between the check and the judging transaction.
        """
        if self._pending or not self.recording:
            return False
        passed_ms = max(now - last for now, last in zip(self._clocks(), self._last, strict=True))
        return passed_ms <= round(TICK_S * 1000) + TOLERANCE_MS and self._store.failures == self._failures

    def shift_for(self, heartbeat: Instant, lease_expires_at: Instant, now: Instant) -> Shift | None:
        """Return by how much to move a lease that its last heartbeat before a gap's end left too short; else None.

        All that were known at the gap's end have moved. One that still ends too soon after it was written by a
        transaction that began before the gap's end, by the clock as it was then, and was committed after the others
        had moved.
        """
        for gap in reversed(self._recent):
            shift = gap.shift
            if shift.by_ms > 0 and heartbeat <= gap.ended_at and gap.started_at <= lease_expires_at < shift.not_before:
                return Shift(by_ms=min(shift.by_ms, gap.ended_at - heartbeat), not_before=now + RETURN_MS)
        return None

    def postponed_until(self, due_at: Instant, now: Instant) -> Instant | None:
        """Return until when work that fell due at `due_at` is postponed; None when it may be carried out."""
        if not self.recording:
            return now + RETURN_MS
        ends = (gap.grace_until for gap in (*self._recent, *self._pending) if gap.started_at <= due_at <= gap.ended_at)
        return max((until for until in ends if until > now), default=None)

    def _notice(self) -> None:
        """Record a gap if more than a tick has passed since the last check: now the loop runs and the store answers.

        The whole time since then is one if an operation was refused meanwhile.
        """
        wall, running = self._clocks()
        last_wall, last_running = self._last
        self._last = wall, running
        refused, self._failures = self._store.failures != self._failures, self._store.failures
        stalled = running - last_running - (0 if refused else round(TICK_S * 1000))
        jump = (wall - last_wall) - (running - last_running)
        by_ms = (stalled if refused or stalled > TOLERANCE_MS else 0) + (jump if abs(jump) > TOLERANCE_MS else 0)
        if not by_ms:
            return
        # Heartbeats that were recorded after the clock jumped are right already.
        if by_ms > 0:
            shift = Shift(by_ms=by_ms, until=wall - jump, not_before=wall + RETURN_MS)
        else:
            shift = Shift(by_ms=by_ms, after=wall)
        self._recording_since = running
        self._pending.append(Gap(last_wall, wall, shift, jump if abs(jump) > TOLERANCE_MS else 0))
        _log.warning("heartbeats_not_recorded", stalled_ms=max(0, stalled), clock_jump_ms=jump, shift_ms=by_ms)

    async def _move(self, gap: Gap) -> None:
        if await self._peers.others_alive():
            claim = partial(gaps.claim, started_at=gap.started_at, ended_at=gap.ended_at, jump_ms=gap.jump_ms)
            moved_ms = await self._transactions.run("claim_gap", claim)
            gap = replace(gap, shift=replace(gap.shift, by_ms=_nearer_zero(gap.shift.by_ms, moved_ms)))
        if gap.shift.by_ms:
            await self._shift_all(gap)

    async def _shift_all(self, gap: Gap) -> None:
        position: gaps.Position | None = gaps.FIRST
        while position is not None:
            step = partial(gaps.shift_attempts, position=position, limit=_BATCH, shift=gap.shift)
            position = await self._transactions.run("shift_leases", step)
        await self._shift_sessions(gap)

    async def _shift_sessions(self, gap: Gap) -> None:
        await self._transactions.run("shift_sessions", lambda state: gaps.shift_sessions(state, gap.shift))


def _nearer_zero(by_ms: int, moved_ms: int) -> int:
    """Return what is left of a shift of which another node did a part already."""
    return max(0, by_ms - moved_ms) if by_ms > 0 else min(0, by_ms + moved_ms)
