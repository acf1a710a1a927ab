"""Timers: carry out what falls due (leases, deadlines of attempts and questions, retries of tasks)."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import TypeVar

import structlog

from app.domain.clock import Clock, Instant
from app.domain.errors import Busy, Conflict, NotFound, StoreUnavailable
from app.domain.redaction import describe
from app.engine.dispatcher import Dispatcher
from app.engine.gaps import GapMonitor
from app.engine.ops import questions, settling, timers
from app.engine.ops.gaps import Shift, shift_attempt
from app.engine.retrying import try_step
from app.engine.transactions import Transactions
from app.spawning.ports import LayerRegistry
from app.state.state import State
from app.state.tables import ATTEMPTS

_log = structlog.get_logger(__name__)

BATCH = 200
SHORTEST_SLEEP_S = 0.005
LONGEST_SLEEP_S = 5.0
"""What another node made due is carried out so much later at most if that node dies."""
AFTER_FAULT_S = 1.0
TOGETHER = 25
"""How many steps one transaction carries out at most."""

Step = Callable[[State], bool | None]
"""Returns False if it is to be tried again."""
D = TypeVar("D")


class Timers:
    """Sleeps until something falls due, and carries it out."""

    def __init__(
        self,
        transactions: Transactions,
        *,
        gaps: GapMonitor,
        dispatcher: Dispatcher,
        layers: LayerRegistry,
        clock: Clock,
    ) -> None:
        self._transactions = transactions
        self._gaps = gaps
        self._dispatcher = dispatcher
        self._layers = layers
        self._clock = clock
        self._wake = asyncio.Event()
        self._next_look = 0.0

    async def run(self) -> None:
        """Carry out what falls due until cancelled; an error is logged and ends nothing."""
        loop = asyncio.get_running_loop()
        self._transactions.on_due(self._look_by)
        try:
            while True:
                self._wake.clear()
                self._next_look = math.inf  # what falls due meanwhile may bring it forward
                pause = await try_step(self._step, doing="carry_out_due", failure="timers_failed")
                self._next_look = min(self._next_look, loop.time() + (AFTER_FAULT_S if pause is None else pause))
                await self._sleep_until_look()
        finally:
            self._transactions.on_due(None)

    async def _step(self) -> float:
        """Carry out what is due; return for how many seconds nothing more will be."""
        return AFTER_FAULT_S if await self.carry_out_due() else await self._until_due()

    def _look_by(self, at: int) -> None:
        """Look for due work at the instant `at` at the latest."""
        when = asyncio.get_running_loop().time() + max(0, at - self._clock()) / 1000
        if when < self._next_look:
            self._next_look = when
            self._wake.set()

    async def _until_due(self) -> float:
        """Return the seconds until something falls due."""
        soonest = await self._transactions.read(timers.next_due)
        if soonest is None:
            return LONGEST_SLEEP_S
        return min(LONGEST_SLEEP_S, max(SHORTEST_SLEEP_S, (soonest - self._clock()) / 1000))

    async def _sleep_until_look(self) -> None:
        loop = asyncio.get_running_loop()
        while (left := self._next_look - loop.time()) > 0:
            try:
                async with asyncio.timeout(left):
                    await self._wake.wait()
            except TimeoutError:
                return
            self._wake.clear()

    async def carry_out_due(self) -> int:
        """Carry out what is due now, a batch in each transaction; return how many are to be tried again soon.

        These are the ones that failed, and those that a gap postpones or may have made due.
        """
        postponed = 0
        while True:
            await self._gaps.catch_up()
            work = await self._transactions.read(lambda state: timers.due(state, BATCH))
            for some in _parts(work.attempts):
                steps = [
                    partial(self._expire_attempt, task_id=attempt.task_id, number=attempt.attempt)
                    for attempt in some
                    if not self._deferred(attempt.timeout_at)
                ]
                postponed += len(some) - await self._carry_out_all("expire_attempts", steps)
            for some in _parts(work.questions):
                steps = [
                    partial(questions.expire, layers=self._layers, key=question.key)
                    for question in some
                    if not self._deferred(question.due_at)
                ]
                postponed += len(some) - await self._carry_out_all("expire_questions", steps)
            for some in _parts(work.reminders):
                steps = [partial(questions.remind, key=question.key) for question in some]
                postponed += len(some) - await self._carry_out_all("remind_questions", steps)
            for task in work.retries:
                if self._deferred(task.retry_at):
                    postponed += 1
                else:
                    await self._dispatcher.redispatch(task.id)
            if postponed or max(map(len, (work.attempts, work.questions, work.reminders))) < BATCH:
                return postponed

    def _deferred(self, due_at: Instant | None) -> bool:
        """Return whether this fell due within a gap and still has to wait for late calls."""
        return due_at is not None and self._gaps.postponed_until(due_at, self._clock()) is not None

    def _expire_attempt(self, state: State, task_id: str, number: int) -> bool:
        """Expire an attempt; return False if a gap may have come since the last check, or ends its lease wrongly."""
        if not self._gaps.is_current():
            return False
        shift = self._shift_of(state, task_id, number)
        if shift is None:
            settling.expire_attempt(state, task_id, number)
        else:
            shift_attempt(state, task_id, number, shift)
        return True

    def _shift_of(self, state: State, task_id: str, number: int) -> Shift | None:
        attempt = ATTEMPTS.get(state.db, task_id, number)
        if attempt is None or attempt.lease_expires_at is None:
            return None
        heartbeat = attempt.started_at if attempt.last_seen_at is None else attempt.last_seen_at
        return self._gaps.shift_for(heartbeat, attempt.lease_expires_at, state.now)

    async def _carry_out_all(self, op: str, steps: Sequence[Step]) -> int:
        """Carry out all in one transaction, or each in its own where one fails; return how many are done."""
        if len(steps) > 1:
            try:
                done = await self._transactions.run(op, partial(_each, steps=steps))
            except StoreUnavailable:
                raise
            except Exception as error:  # noqa: BLE001 - what one step raises is logged when it runs alone
                _log.info("due_steps_separated", op=op, count=len(steps), error=describe(error))
            else:
                return len(done) - done.count(False)
        return sum([await self._carry_out(op, step) for step in steps])

    async def _carry_out(self, op: str, fn: Step) -> bool:
        """Return whether it is done, by this call or by an earlier one."""
        try:
            return await self._transactions.run(op, fn) is not False
        except (Conflict, NotFound) as error:
            _log.info("due_step_overtaken", op=op, reason=str(error))
        except Busy:
            raise
        except Exception as error:  # noqa: BLE001 - a layer's fault in one task's settling must not hold up all others
            _log.warning("due_step_failed", op=op, error=describe(error), exc_info=True)
            return False
        return True


def _each(state: State, steps: Sequence[Step]) -> list[bool | None]:
    return [step(state) for step in steps]


def _parts(due: Sequence[D]) -> Iterator[Sequence[D]]:
    return (due[at : at + TOGETHER] for at in range(0, len(due), TOGETHER))
