"""Walking one attempt from its spawn to its end, in this server process.

Workers outside the process that need nothing but answers (external, queue) are never walked: their attempts are rows,
and cost nothing while they wait. What is walked begins again after a restart where the row says it was.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Any

import structlog

from app.domain.attempts import Outcome, Phase, Reason
from app.domain.errors import Busy, Conflict, EngineError
from app.domain.events import EventKind
from app.domain.json import Json
from app.domain.outputs import OutputEvent
from app.domain.tokens import CapToken
from app.engine.core import Core
from app.engine.ops import attempts, finals, recovery
from app.engine.ops.attempts import require_own_attempt
from app.engine.ops.recovery import DETACHED, Walk
from app.spawning.failures import printable
from app.spawning.ports import Exit, Settled, SpawnFailed, SpawnRefused, Worker
from app.spawning.stack import LinkedSpawner
from app.state.state import State
from app.state.tables import ATTEMPTS

_log = structlog.get_logger(__name__)


class AttemptControl:
    """What the attempt's spawner and layers may ask of the engine; fenced by the attempt's epoch."""

    def __init__(self, core: Core, walk: Walk, token: Callable[[], Awaitable[CapToken]]) -> None:
        self._core = core
        self._task_id = walk.task.id
        self._attempt = walk.attempt.attempt
        self._epoch = walk.attempt.epoch
        self._token = token

    async def _do(self, op: str, fn: Callable[[State, Any], Any]) -> Any:
        def run(state: State) -> Any:
            _, attempt = require_own_attempt(state, self._task_id, self._attempt, epoch=self._epoch)
            return fn(state, attempt)

        return await self._core.with_state(op, run)

    async def mint_handle(self) -> str:
        """A fresh handle for this attempt; earlier ones stay good."""
        mint = self._core.handle_mint
        return await self._do("mint_handle", lambda s, a: attempts.new_handle(s, mint, a.task_id, a.attempt))

    async def worker_token(self) -> CapToken:
        """The attempt's worker token."""
        return await self._token()

    async def record_process(self, info: dict[str, Any]) -> None:
        """Keep what is needed to find the worker again."""
        value = Json.of(info)
        await self._do("record_process", lambda s, a: ATTEMPTS.update(s.db, a.task_id, a.attempt, process=value))

    async def output(self, event: OutputEvent) -> None:
        """Append an output event in the worker's name."""
        cfg = self._core.cfg
        await self._do("emit_output", lambda s, a: finals.append(s, cfg, a, event.type, event.body))

    async def bake_system(self, system: str | None) -> None:
        """Set the system prompt that the worker fetches."""
        await self._do("bake_system", lambda s, a: attempts.bake_system(s, a.task_id, a.attempt, system))

    async def held_long(self, held_s: float) -> None:
        """Put on the feed that the attempt outlived its limit, once."""

        def run(state: State, attempt: Any) -> None:
            if attempt.warned_at is None:
                ATTEMPTS.update(state.db, attempt.task_id, attempt.attempt, warned_at=state.now)
                state.emit(EventKind.ATTEMPT_HELD_LONG, task_id=attempt.task_id, attempt=attempt.attempt, held_s=held_s)

        await self._do("held_long", run)

    async def ended(self) -> None:
        """Return when the attempt is no longer live."""
        await self._core.attempt_ended(self._task_id, self._attempt, self._epoch)


class Driver:
    """One attempt on its way through spawn, join and the steps after."""

    def __init__(self, core: Core, walk: Walk, linked: LinkedSpawner, control: AttemptControl) -> None:
        self._core = core
        self._linked = linked
        self._control = control
        self._task_id = walk.task.id
        self._number = walk.attempt.attempt
        self._epoch = walk.attempt.epoch
        self._phase = walk.attempt.phase
        self._facts = walk.facts
        self._job = recovery.job(walk, core.cfg.base_url)
        self._steps = walk.attempt.steps

    async def run(self) -> None:
        """Walk it to its end. Every way out settles the attempt; a cancelled driver leaves it to the next one."""
        with structlog.contextvars.bound_contextvars(task_id=self._task_id, attempt=self._number):
            if self._phase is not Phase.FINISHING:
                await self._live()
            if self._steps:
                await self._after()

    async def _live(self) -> None:
        ended = asyncio.ensure_future(self._control.ended())
        try:
            worker = await self._start(ended)
            if worker is not None:
                await self._join(worker, ended)
            await ended
        finally:
            ended.cancel()

    async def _start(self, ended: asyncio.Future[None]) -> Worker | None:
        """The worker; None when the attempt ended first or the spawn went wrong."""
        begin = self._rejoin if self._phase in (Phase.RUNNING, Phase.QUEUED, Phase.HELD) else self._spawn
        spawning = asyncio.ensure_future(begin())
        try:
            await asyncio.wait({spawning, ended}, return_when=asyncio.FIRST_COMPLETED)
            if not spawning.done():
                return None
            worker = spawning.result()
        except SpawnRefused as refusal:
            await self._fail(Reason.REFUSED, refusal.reason)
            return None
        except SpawnFailed as failure:
            await self._fail(Reason.SPAWN_FAILED, failure.detail)
            return None
        except Exception as error:  # noqa: BLE001 - a spawner's or layer's own fault must settle its attempt, not hang it
            _log.warning("spawn_raised", error=type(error).__name__, exc_info=True)
            await self._fail(Reason.SPAWN_FAILED, f"{type(error).__name__}: {error}")
            return None
        finally:
            spawning.cancel()
            with suppress(asyncio.CancelledError, Exception):
                await spawning
        if ended.done():
            await worker.stop(self._grace_s)
            return None
        return worker

    async def _spawn(self) -> Worker:
        worker = await self._linked.spawn(self._job, self._control)
        into = self._linked.adapter(self._facts).first_phase
        into = Phase.QUEUED if into is Phase.QUEUED else Phase.RUNNING
        cfg = self._core.cfg
        try:
            await self._core.with_state(
                "started",
                lambda s: attempts.started(s, cfg, self._task_id, self._number, epoch=self._epoch, into=into),
            )
        except BaseException:
            await asyncio.shield(worker.stop(self._grace_s))
            raise
        return worker

    async def _rejoin(self) -> Worker:
        return await self._linked.rejoin(self._job, self._control)

    async def _join(self, worker: Worker, ended: asyncio.Future[None]) -> None:
        """Wait for whichever comes first, the worker's end or the attempt's, renewing its lease meanwhile."""
        joining = asyncio.ensure_future(worker.join())
        renewing = asyncio.ensure_future(self._stay_alive())
        try:
            await asyncio.wait({joining, ended}, return_when=asyncio.FIRST_COMPLETED)
            if joining.done() and not ended.done():
                await self._apply(_exit_of(joining))
            if not joining.done():
                await self._let_go(worker, joining)
        finally:
            for task in (joining, renewing):
                task.cancel()
            # A driver that is cancelled leaves workers that outlive the server to the next one.
            if not joining.done() and not self._linked.adapter(self._facts).outlives_server:
                await asyncio.shield(worker.stop(self._grace_s))

    async def _let_go(self, worker: Worker, joining: asyncio.Future[Exit]) -> None:
        """The attempt ended while its worker lives. One that submitted by itself may leave in peace."""
        attempt = await self._core.store.read(lambda s: ATTEMPTS.get(s.db, self._task_id, self._number))
        if attempt is not None and attempt.final is not None and attempt.reason is Reason.FINAL:
            await asyncio.wait({joining}, timeout=self._grace_s)
            if joining.done():
                return
        await worker.stop(self._grace_s)

    async def _stay_alive(self) -> None:
        """Renew the lease of a watched worker at a third of it."""
        cfg = self._core.cfg
        pause = min(cfg.lease_ms, cfg.worker_token_life_ms) / 3000
        while True:
            await asyncio.sleep(pause)
            with suppress(Busy):
                await self._core.with_state(
                    "alive", lambda s: recovery.alive(s, cfg, self._task_id, self._number, self._epoch)
                )

    @property
    def _grace_s(self) -> float:
        return self._core.cfg.stop_grace_ms / 1000

    async def _apply(self, exit: Exit) -> None:
        """The worker ended by itself: its Final, or a failure that names itself."""
        if exit.final is None:
            await self._fail(Reason.WORKER_FAILED, exit.detail)
            return
        final, layers = exit.final, self._core.layer_registry

        def run(state: State) -> None:
            task, attempt = require_own_attempt(state, self._task_id, self._number, epoch=self._epoch)
            if attempt.phase is not Phase.HELD:
                finals.accept(state, layers, task, attempt, final)

        await self._settle("apply", run)

    async def _fail(self, reason: Reason, detail: str) -> None:
        told = printable(detail)
        await self._settle(
            "fail",
            lambda state: attempts.failed(
                state, self._task_id, self._number, epoch=self._epoch, reason=reason, detail=told
            ),
        )

    async def _settle(self, op: str, fn: Callable[[State], None]) -> None:
        """Until it is written: a store that is away for a while must not leave the task running for ever."""
        pause = 0.05
        while True:
            try:
                return await self._core.with_state(op, fn)
            except Conflict:
                return None  # something else ended the attempt first
            except Busy as error:
                _log.warning("settle_waits_for_store", op=op, reason=str(error))
                await asyncio.sleep(pause)
                pause = min(5.0, pause * 2)

    async def _after(self) -> None:
        attempt = await self._core.store.read(lambda s: ATTEMPTS.get(s.db, self._task_id, self._number))
        if attempt is None or attempt.phase is not Phase.FINISHING:
            return
        settled = Settled(
            outcome=attempt.outcome or Outcome.BLOCKED,
            value=attempt.final,
            reason=attempt.reason.value if attempt.reason else "",
        )
        for layer in self._linked.acting(self._facts):
            if layer.drives:
                await self._step_after(layer.after(self._job, self._control, settled), layer.key)
        await self._core.with_state("finished", lambda s: recovery.finished(s, self._task_id, self._number))

    async def _step_after(self, step: Awaitable[None], key: str) -> None:
        try:
            await step
        except EngineError as error:
            _log.info("after_step_fenced_off", layer=key, reason=str(error))
        except Exception:  # noqa: BLE001 - one layer's fault must not keep the others and the row from finishing
            _log.warning("after_step_raised", layer=key, exc_info=True)


def _exit_of(joining: asyncio.Future[Exit]) -> Exit:
    error = joining.exception()
    if error is None:
        return joining.result()
    return Exit(detail=f"{type(error).__name__}: {error}")


def is_detached(linked: LinkedSpawner) -> bool:
    """Whether no attempt through this stack ever needs a driver."""
    return linked.router.kind in DETACHED and not any(layer.drives for layer in linked.layers)


def needs_driver(walk: Walk) -> bool:
    """Whether this process has to walk the attempt."""
    return walk.attempt.kind not in DETACHED or walk.attempt.steps
