"""What the engine does by itself: timers, the detach loop, recovery at the start. All owned, all stopped with it."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import structlog

from app.domain.attempts import Attempt, Phase
from app.domain.errors import Busy, Conflict, NotFound
from app.domain.redaction import describe
from app.engine.attempts import AttemptCalls
from app.engine.ops import questions, recovery, sessions, timers
from app.engine.ops.recovery import Place, Walk
from app.spawning.stack import LinkedSpawner
from app.state.state import State

_log = structlog.get_logger(__name__)

BATCH = 200
SHORTEST_SLEEP_S = 0.005
LONGEST_SLEEP_S = 30.0
AFTER_FAULT_S = 1.0
SEARCH_AFTER_S = (0.5, 5.0, 60.0)
"""When to look after a commit that broke: the database may be at it still, until it takes the connection for dead."""
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
        keep = self._cfg.keepalive_on_idle

        def run(state: State) -> int:
            return sessions.detach_silent(state, state.now - allowed, BATCH, keep_tasks=keep)

        while await self._do("detach_silent", run, bulk=not keep) == BATCH:
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
            except Exception:  # noqa: BLE001 - one failure must not end a loop that runs as long as the server
                _log.exception("background_step_broke", loop=name)

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
                failed = await self.carry_out_due()
                pause = AFTER_FAULT_S if failed else await self._until_due()
            except Busy as error:
                _log.warning("timers_wait_for_store", reason=str(error))
                pause = AFTER_FAULT_S
            except Exception:  # noqa: BLE001 - every lease, deadline and retry hangs on this loop: nothing may end it
                _log.exception("timers_failed")
                pause = AFTER_FAULT_S
            self._next_look = loop.time() + pause
            await self._sleep_until_look()

    async def _until_due(self) -> float:
        """Seconds until something can be carried out."""
        soonest = await self._store.read(timers.next_due)
        if soonest is None:
            return LONGEST_SLEEP_S
        return min(LONGEST_SLEEP_S, max(SHORTEST_SLEEP_S, (soonest - self._parts.clock()) / 1000))

    async def _sleep_until_look(self) -> None:
        loop = asyncio.get_running_loop()
        while (left := self._next_look - loop.time()) > 0:
            try:
                async with asyncio.timeout(left):
                    await self._timer_wake.wait()
            except TimeoutError:
                return
            self._timer_wake.clear()

    async def carry_out_due(self) -> int:
        """Carry out everything that is due now, each in a transaction of its own; how many of these failed."""
        failed = 0
        while True:
            work = await self._store.read(lambda state: timers.due(state, BATCH))
            for attempt in work.attempts:
                key = attempt.task_id, attempt.attempt
                failed += not await self._due_step("expire_attempt", timers.expire_attempt, *key)
            for question in work.questions:
                asked = self.layer_registry, question.key
                failed += not await self._due_step("expire_question", questions.expire, *asked)
            for task in work.retries:
                await self.redispatch(task.id)
            if failed or max(len(work.attempts), len(work.questions)) < BATCH:
                return failed

    async def _due_step(self, op: str, fn: Callable[..., None], *args: object) -> bool:
        """Whether it is done, by this call or by somebody else before."""
        try:
            await self._do(op, lambda state: fn(state, *args))
        except (Conflict, NotFound) as error:
            _log.info("due_step_overtaken", op=op, reason=str(error))
        except Busy:
            raise
        except Exception as error:  # noqa: BLE001 - a layer's fault in one task's settling must not hold up all others
            _log.warning("due_step_failed", op=op, error=describe(error), exc_info=True)
            return False
        return True

    # What nobody was told of

    def start_search(self) -> None:
        """Begin to look, after commits that broke, for what they left."""
        self._own(self._search())

    async def _search(self) -> None:
        while True:
            await self._in_doubt.wait()
            self._in_doubt.clear()
            for pause in SEARCH_AFTER_S:
                await asyncio.sleep(pause)
                await self._search_once()

    async def _search_once(self) -> None:
        while True:
            try:
                return await self.walk_forgotten()
            except Busy as error:
                _log.warning("search_waits_for_store", reason=str(error))
            except Exception:  # noqa: BLE001 - one failure must not end a loop that runs as long as the server
                return _log.exception("search_broke")
            await asyncio.sleep(AFTER_FAULT_S)

    async def walk_forgotten(self) -> None:
        """Walk what this process has to walk and does not: whoever prepared it never heard that it was kept."""
        place = ("", "", 0)
        while page := await self._orphans(place):
            for found in page:
                if (found.task_id, found.attempt) not in self._drivers:
                    await self._drive(found.task_id, found.attempt)
            place = page[-1].kind, page[-1].task_id, page[-1].attempt

    # Recovery

    async def recover(self) -> int:
        """Take over every attempt that a dead server process was walking; how many they were."""
        await self._do("grant_grace", recovery.grant_grace, bulk=True)
        count, place = 0, ("", "", 0)
        while page := await self._orphans(place):
            await asyncio.gather(*(self._recover_one(found.task_id, found.attempt) for found in page))
            count += len(page)
            place = page[-1].kind, page[-1].task_id, page[-1].attempt
        return count

    async def _orphans(self, after: Place) -> list[Attempt]:
        return await self._store.read(lambda state: recovery.orphans(state, after, _PAGE), bulk=True)

    async def _recover_one(self, task_id: str, number: int) -> None:
        walk = await self._do("take_over", lambda state: recovery.take_over(state, task_id, number, self._node))
        if walk is None:
            return
        linked = self.rebuild(walk)
        outlives = linked.acting(walk.facts).adapter.outlives_server
        if not outlives:
            await self._reap(walk, linked)
        if self._goes_on(walk, outlives):
            self._launch(walk, linked)
            return
        await self._due_step("lost", recovery.lost, task_id, number, "the server process that ran its worker died")
        await self._drive(task_id, number, linked)

    async def _reap(self, walk: Walk, linked: LinkedSpawner) -> None:
        """End what the dead server process left of a worker, whatever became of the attempt since."""
        try:
            await linked.reap(recovery.job(walk, self._cfg.base_url), self._cfg.stop_grace_ms / 1000)
        except Exception as error:  # noqa: BLE001 - a spawner's own fault must not keep the server from starting
            key = {"task_id": walk.task.id, "attempt": walk.attempt.attempt}
            _log.warning("reap_raised", **key, error=describe(error), exc_info=True)

    @staticmethod
    def _goes_on(walk: Walk, outlives: bool) -> bool:
        """Attempts go on whose worker was not started yet, outlives the server, or had its last word."""
        if walk.attempt.phase in (Phase.WAITING, Phase.FINISHING, Phase.HELD):
            return True
        return outlives
