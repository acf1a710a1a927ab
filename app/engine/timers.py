"""Timers: carry out what falls due (leases, deadlines of attempts and questions, retries of tasks).

The timers of all nodes read the same rows. What one node is carrying out is locked, and the others pass over it.
"""

from __future__ import annotations

import asyncio
import math
from collections import Counter
from collections.abc import Callable, Sequence
from functools import partial

import structlog

from app.domain.clock import Clock, Instant
from app.domain.errors import Busy, Conflict, NotFound, StoreUnavailable
from app.domain.redaction import describe
from app.domain.tasks import Task
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
WHILE_LOCKED_S = 0.05
"""Pause before another look at what other transactions have locked."""

Step = tuple[str, Callable[[State], bool | None]]
"""The task, and what is due for it; that returns False if it is to be tried again."""
Done = bool | None
"""Whether a step is done; None where another transaction has its task locked."""


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

        These are the ones that failed, and those that a gap postpones or may have made due. What other transactions
        have locked is looked at again until it is done or not due any more.
        """
        while True:
            await self._gaps.catch_up()
            work = await self._transactions.read(lambda state: timers.due(state, BATCH))
            done = Counter(await self._expire(work) + await self._retry(work.retries))
            if done[None]:
                await asyncio.sleep(WHILE_LOCKED_S)
            elif not done[True] or max(map(len, (work.attempts, work.questions, work.reminders))) < BATCH:
                return done[False]

    async def _expire(self, work: timers.DueWork) -> list[Done]:
        """Carry out what is due of attempts and questions."""
        attempts: list[Step] = [
            (attempt.task_id, partial(self._expire_attempt, task_id=attempt.task_id, number=attempt.attempt))
            for attempt in work.attempts
            if not self._deferred(attempt.timeout_at)
        ]
        expired: list[Step] = [
            (question.task_id, partial(questions.expire, layers=self._layers, key=question.key))
            for question in work.questions
            if not self._deferred(question.due_at)
        ]
        reminded: list[Step] = [
            (question.task_id, partial(questions.remind, key=question.key)) for question in work.reminders
        ]
        deferred = len(work.attempts) - len(attempts) + len(work.questions) - len(expired)
        return [
            *deferred * [False],
            *await self._carry_out_all("expire_attempts", attempts),
            *await self._carry_out_all("expire_questions", expired),
            *await self._carry_out_all("remind_questions", reminded),
        ]

    async def _retry(self, tasks: Sequence[Task]) -> list[Done]:
        """Dispatch tasks again whose retry is due."""
        return [
            False if self._deferred(task.retry_at) else (await self._dispatcher.redispatch(task.id) or None)
            for task in tasks
        ]

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

    async def _carry_out_all(self, op: str, steps: Sequence[Step]) -> list[Done]:
        """Carry out all, a batch in each transaction."""
        parts = [steps[at : at + TOGETHER] for at in range(0, len(steps), TOGETHER)]
        return [done for part in parts for done in await self._carry_out_part(op, part)]

    async def _carry_out_part(self, op: str, steps: Sequence[Step]) -> list[Done]:
        """Carry out some in one transaction, or each in its own where one fails."""
        if len(steps) > 1:
            try:
                return await self._transactions.run(op, partial(_each, steps=steps))
            except StoreUnavailable:
                raise
            except Exception as error:  # noqa: BLE001 - what one step raises is logged when it runs alone
                _log.info("due_steps_separated", op=op, count=len(steps), error=describe(error))
        return [await self._carry_out(op, step) for step in steps]

    async def _carry_out(self, op: str, step: Step) -> Done:
        """Return whether it is done, by this call or by an earlier one."""
        try:
            [done] = await self._transactions.run(op, partial(_each, steps=[step]))
        except (Conflict, NotFound) as error:
            _log.info("due_step_overtaken", op=op, reason=str(error))
        except Busy:
            raise
        except Exception as error:  # noqa: BLE001 - a layer's fault in one task's settling must not hold up all others
            _log.warning("due_step_failed", op=op, error=describe(error), exc_info=True)
            return False
        else:
            return done
        return True


def _each(state: State, steps: Sequence[Step]) -> list[Done]:
    claimed = timers.claim(state, [task_id for task_id, _ in steps])
    return [step(state) is not False if task_id in claimed else None for task_id, step in steps]
