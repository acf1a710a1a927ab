"""What the engine does by itself: timers, the detach loop, recovery at the start. All owned, all stopped with it."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import structlog

from app.domain.attempts import Attempt, Phase
from app.domain.errors import Busy, Conflict, Missing
from app.engine.attempts import AttemptCalls
from app.engine.ops import questions, recovery, sessions, timers
from app.engine.ops.recovery import Walk

_log = structlog.get_logger(__name__)

BATCH = 200
LONGEST_SLEEP_S = 30.0
_PAGE = 500


class Background(AttemptCalls):
    """Loops."""

    _loops: set[asyncio.Task[None]]
    _timer_wake: asyncio.Event
    _next_look: float

    def start_detach_loop(self) -> asyncio.Task[None]:
        """Mark sessions detached that missed `heartbeat_miss_threshold` intervals; tasks stay.

        Returns the running task, for callers who want to cancel it; the engine cancels it when it stops.
        """
        return self._own(self._forever("detach", self.detach_silent, self._cfg.heartbeat_interval_ms / 1000))

    async def detach_silent(self) -> None:
        """One pass of the detach loop."""
        allowed = self._cfg.heartbeat_interval_ms * self._cfg.heartbeat_miss_threshold
        while await self._do("detach_silent", lambda s: sessions.detach_silent(s, s.now - allowed, BATCH)) == BATCH:
            pass

    def _own(self, coroutine: Awaitable[None]) -> asyncio.Task[None]:
        task = asyncio.ensure_future(coroutine)
        self._loops.add(task)
        task.add_done_callback(self._loops.discard)
        return task

    async def _forever(self, name: str, step: Callable[[], Awaitable[None]], pause_s: float) -> None:
        while True:
            await asyncio.sleep(pause_s)
            try:
                await step()
            except Busy as error:
                _log.warning("background_step_failed", loop=name, reason=str(error))

    # Timers

    def start_timers(self) -> None:
        """Begin to carry out what falls due."""
        self._due_soon = self._hurry
        self._own(self._timers())

    def _hurry(self, at: int) -> None:
        """Something falls due at `at`: look no later."""
        when = asyncio.get_running_loop().time() + max(0, at - self._parts.clock()) / 1000
        if when < self._next_look:
            self._next_look = when
            self._timer_wake.set()

    async def _timers(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            self._timer_wake.clear()
            try:
                await self.carry_out_due()
                soonest = await self._store.read(timers.next_due)
            except Busy as error:
                _log.warning("timers_wait_for_store", reason=str(error))
                soonest = self._parts.clock() + 1000
            pause = LONGEST_SLEEP_S
            if soonest is not None:
                pause = min(pause, max(0.0, (soonest - self._parts.clock()) / 1000))
            if await self._loop_is_paused_for(soonest):
                pause = LONGEST_SLEEP_S
            self._next_look = loop.time() + pause
            await self._sleep_until_look()

    async def _loop_is_paused_for(self, soonest: int | None) -> bool:
        """Whether the soonest thing is a retry that a paused loop holds back."""
        if soonest is None or soonest > self._parts.clock():
            return False
        work = await self._store.read(lambda state: timers.due(state, 1))
        return not work.attempts and not work.questions

    async def _sleep_until_look(self) -> None:
        loop = asyncio.get_running_loop()
        while (left := self._next_look - loop.time()) > 0:
            try:
                async with asyncio.timeout(left):
                    await self._timer_wake.wait()
            except TimeoutError:
                return
            self._timer_wake.clear()

    async def carry_out_due(self) -> None:
        """Carry out everything that is due now, each in a transaction of its own."""
        while True:
            work = await self._store.read(lambda state: timers.due(state, BATCH))
            for attempt in work.attempts:
                await self._due_step("expire_attempt", timers.expire_attempt, attempt.task_id, attempt.attempt)
            for question in work.questions:
                key = question.key
                await self._due_step("expire_question", questions.expire, self.layer_registry, key)
            for task in work.retries:
                await self.redispatch(task.id)
            if max(len(work.attempts), len(work.questions)) < BATCH:
                return

    async def _due_step(self, op: str, fn: Callable[..., None], *args: object) -> None:
        try:
            await self._do(op, lambda state: fn(state, *args))
        except (Conflict, Missing) as error:
            _log.info("due_step_overtaken", op=op, reason=str(error))

    # Recovery

    async def recover(self) -> int:
        """Take over every attempt that a dead server process was walking; how many they were."""
        page, count = await self._orphans(("", "")), 0
        while page:
            for found in page:
                await self._recover_one(found.task_id, found.attempt)
            count += len(page)
            page = await self._orphans((page[-1].kind, page[-1].task_id))
        return count

    async def _orphans(self, after: tuple[str, str]) -> list[Attempt]:
        return await self._store.read(lambda state: recovery.orphans(state, after, _PAGE))

    async def _recover_one(self, task_id: str, number: int) -> None:
        walk = await self._do("take_over", lambda state: recovery.take_over(state, task_id, number, self._node))
        if walk is None:
            return
        linked = self.rebuild(walk)
        if self._goes_on(walk, linked.adapter(walk.facts).outlives_server):
            self._launch(walk, linked)
            return
        await linked.reap(recovery.job(walk, self._cfg.base_url), self._cfg.stop_grace_ms / 1000)
        await self._due_step("lost", recovery.lost, task_id, number, "the server process that ran its worker died")

    @staticmethod
    def _goes_on(walk: Walk, outlives: bool) -> bool:
        """Attempts go on whose worker was not started yet, outlives the server, or is done."""
        if walk.attempt.phase in (Phase.WAITING, Phase.FINISHING, Phase.HELD):
            return True
        return outlives
