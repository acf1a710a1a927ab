"""Walking one attempt from its spawn to its end, in this server process.

Workers outside the process that need nothing but answers (external, queue) are never walked: their attempts are rows,
and cost nothing while they wait. What is walked begins again after a restart where the row says it was.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import TypeVar

import structlog

from app.domain.attempts import DETACHED, Attempt, Outcome, Phase, Reason
from app.domain.errors import Busy, Conflict, EngineError
from app.domain.redaction import describe, printable
from app.engine.control import AttemptControl
from app.engine.ops import attempts, finals, recovery
from app.engine.ops.attempts import require_own_attempt
from app.engine.ops.recovery import Walk
from app.engine.ops.rules import EngineCfg
from app.engine.retrying import retry_while_busy
from app.engine.transactions import Transactions
from app.spawning.ports import Exit, LayerRegistry, Settled, SpawnFailed, SpawnRefused, Worker
from app.spawning.stack import LinkedSpawner
from app.state.state import State
from app.state.tables import ATTEMPTS

R = TypeVar("R")

_ENDED_BY_ITSELF = (Reason.FINAL, Reason.WORKER_FAILED, Reason.SPAWN_FAILED, Reason.REFUSED)
"""Reasons that leave nobody to be told: the worker had its last word, or there was none."""

_log = structlog.get_logger(__name__)


class Driver:
    """One attempt on its way through spawn, join and the steps after."""

    def __init__(
        self,
        transactions: Transactions,
        walk: Walk,
        linked: LinkedSpawner,
        control: AttemptControl,
        *,
        layers: LayerRegistry,
        cfg: EngineCfg,
    ) -> None:
        self._transactions = transactions
        self._layers = layers
        self._cfg = cfg
        self._linked = linked
        self._control = control
        self._task_id = walk.task.id
        self._number = walk.attempt.attempt
        self._epoch = walk.attempt.epoch
        self._phase = walk.attempt.phase
        self._lease_ms = walk.attempt.lease_ms
        self._facts = walk.facts
        self._outlives = linked.acting(walk.facts).adapter.outlives_server
        self._job = recovery.job(walk, cfg.base_url)

    async def run(self) -> None:
        """Walk it to its end. Every way out settles the attempt; a cancelled driver leaves it to the next one."""
        with structlog.contextvars.bound_contextvars(task_id=self._task_id, attempt=self._number):
            if self._phase is Phase.FINISHING:
                await self._stop_what_is_left()
            else:
                await self._live()
            await self._after()

    async def _live(self) -> None:
        ended = asyncio.ensure_future(self._control.ended())
        try:
            worker = await self._start(ended)
            if worker is not None:
                await self._join(worker, ended)
            await ended
        except Exception as error:  # noqa: BLE001 - whatever a spawner, worker or layer does wrong must settle its attempt
            _log.warning("attempt_broke", error=describe(error), exc_info=True)
            await self._fail(Reason.WORKER_FAILED, describe(error))
        finally:
            ended.cancel()

    async def _start(self, ended: asyncio.Future[None]) -> Worker | None:
        """The worker; None when the attempt ended first, the spawn went wrong, or its last word was said before."""
        if self._phase is Phase.HELD:
            return None
        again = self._phase in (Phase.RUNNING, Phase.QUEUED)
        begin = self._linked.rejoin if again else self._linked.spawn
        spawning = asyncio.ensure_future(begin(self._job, self._control))
        try:
            await asyncio.wait({spawning, ended}, return_when=asyncio.FIRST_COMPLETED)
            worker = spawning.result() if spawning.done() else None
        except SpawnRefused as refusal:
            await self._fail(Reason.REFUSED, refusal.reason)
            return None
        except SpawnFailed as failure:
            await self._fail(Reason.SPAWN_FAILED, failure.detail)
            return None
        except Exception as error:  # noqa: BLE001 - a spawner's or layer's own fault must settle its attempt, not hang it
            if not ended.done():
                _log.warning("spawn_raised", error=describe(error), exc_info=not isinstance(error, EngineError))
            await self._fail(Reason.SPAWN_FAILED, describe(error))
            return None
        finally:
            await _cancelled(spawning)
        if worker is not None and not again:
            await self._note_started(worker)
        return worker

    async def _note_started(self, worker: Worker) -> None:
        """Phase two is done. Also when the attempt has ended meanwhile: its worker is let go as any other."""
        queued = self._linked.acting(self._facts).adapter.first_phase is Phase.QUEUED
        into = Phase.QUEUED if queued else Phase.RUNNING
        key, cfg = (self._task_id, self._number), self._cfg
        try:
            await self._run("started", lambda s: attempts.started(s, cfg, *key, epoch=self._epoch, into=into))
        except Conflict:
            pass  # its attempt is over already: whoever joins it lets it go
        except BaseException:
            await asyncio.shield(worker.stop(self._grace_s))
            raise

    async def _join(self, worker: Worker, ended: asyncio.Future[None]) -> None:
        """Wait for whichever comes first, the worker's end or the attempt's, renewing its lease meanwhile."""
        joining = asyncio.ensure_future(worker.join())
        # For a worker elsewhere only its own traffic is a sign of life.
        renewing = None if self._outlives else asyncio.ensure_future(self._stay_alive())
        try:
            await asyncio.wait({joining, ended}, return_when=asyncio.FIRST_COMPLETED)
            own_end = joining.done() and not ended.done() and await self._apply(_exit_of(joining))
            if not own_end:
                await self._let_go(worker, joining)
        finally:
            if renewing is not None:
                renewing.cancel()
            # A driver that is cancelled leaves workers that outlive the server to the next one.
            if not joining.done() and not self._outlives:
                await asyncio.shield(worker.stop(self._grace_s))
            await _cancelled(joining)

    async def _let_go(self, worker: Worker, joining: asyncio.Future[Exit]) -> None:
        """The attempt ended while its worker lives. One that submitted by itself may leave in peace."""
        attempt = await self._read()
        if attempt is not None and attempt.is_live and self._outlives:
            return  # another server process has taken both over
        if attempt is not None and attempt.final is not None and attempt.reason is Reason.FINAL:
            await asyncio.wait({joining}, timeout=self._grace_s)
            if joining.done():
                return
        await worker.stop(self._grace_s)

    async def _stop_what_is_left(self) -> None:
        """The attempt ended under an earlier server process, which perhaps died before its worker was told."""
        attempt = await self._read()
        if not self._outlives or attempt is None or attempt.reason in _ENDED_BY_ITSELF:
            return
        try:
            worker = await self._linked.rejoin(self._job, self._control)
            await worker.stop(self._grace_s)
        except Exception as error:  # noqa: BLE001 - one that cannot be reached must not keep the layers' steps from being done
            _log.info("worker_not_told_to_stop", error=describe(error))

    async def _stay_alive(self) -> None:
        """Renew the lease of a watched worker at a third of it."""
        cfg = self._cfg
        pause = min(self._lease_ms or cfg.worker_token_life_ms, cfg.worker_token_life_ms) / 3000
        while True:
            await asyncio.sleep(pause)
            with suppress(Busy):
                await self._transactions.run(
                    "alive", lambda s: recovery.alive(s, cfg, self._task_id, self._number, self._epoch)
                )

    @property
    def _grace_s(self) -> float:
        return self._cfg.stop_grace_ms / 1000

    async def _apply(self, exit: Exit) -> bool:
        """The worker ended by itself: its Final, or a failure that names itself. Whether the attempt was not over yet.

        One whose attempt was over may have ended because of that, and has still to be told.
        """
        if exit.final is None:
            return await self._fail(Reason.WORKER_FAILED, exit.detail)
        final, layers = exit.final, self._layers

        def run(state: State) -> None:
            task, attempt = require_own_attempt(state, self._task_id, self._number, epoch=self._epoch)
            if attempt.phase is not Phase.HELD:
                finals.accept(state, layers, task, attempt, final, worker_gone=True)

        return await self._settle("apply", run)

    async def _fail(self, reason: Reason, detail: str) -> bool:
        key, shown = (self._task_id, self._number), printable(detail)
        return await self._settle(
            "fail", lambda s: attempts.failed(s, *key, epoch=self._epoch, reason=reason, detail=shown)
        )

    async def _settle(self, op: str, fn: Callable[[State], None]) -> bool:
        """Whether it was done; not when something else ended the attempt first."""
        try:
            await self._run(op, fn)
        except Conflict:
            return False
        return True

    async def _run(self, op: str, fn: Callable[[State], None]) -> None:
        """Run it as soon as the store takes it: an outage must not leave the task running for ever."""
        await retry_while_busy(lambda: self._transactions.run(op, fn), doing=op)

    async def _read(self) -> Attempt | None:
        key = self._task_id, self._number
        read = self._transactions.read
        return await retry_while_busy(lambda: read(lambda s: ATTEMPTS.get(s.db, *key)), doing="read_attempt")

    async def _after(self) -> None:
        attempt = await self._read()
        if attempt is None or attempt.phase is not Phase.FINISHING:
            return
        settled = Settled(
            outcome=attempt.outcome or Outcome.BLOCKED,
            value=attempt.final,
            reason=attempt.reason.value if attempt.reason else "",
        )
        for layer in self._linked.acting(self._facts).layers:
            if layer.drives:
                await self._step_after(layer.after(self._job, self._control, settled), layer.key)
        key = self._task_id, self._number
        await self._settle("finished", lambda s: recovery.finished(s, *key))

    async def _step_after(self, step: Awaitable[None], key: str) -> None:
        try:
            await step
        except EngineError as error:
            _log.info("after_step_fenced_off", layer=key, reason=str(error))
        except Exception:  # noqa: BLE001 - one layer's fault must not keep the others and the row from finishing
            _log.warning("after_step_raised", layer=key, exc_info=True)


def _exit_of(joining: asyncio.Future[Exit]) -> Exit:
    if joining.cancelled():
        return Exit(detail="waiting for the worker was cancelled from within")
    error = joining.exception()
    return joining.result() if error is None else Exit(detail=describe(error))


async def _cancelled(future: asyncio.Future[R]) -> None:
    """Cancel it and wait for its end, whatever that is."""
    future.cancel()
    await asyncio.wait({future})
    if not future.cancelled():
        future.exception()


def is_detached(linked: LinkedSpawner) -> bool:
    """Whether no attempt through this stack ever needs a driver."""
    return linked.router.kind in DETACHED and not any(layer.drives for layer in linked.layers)


def needs_driver(walk: Walk) -> bool:
    """Whether this process has to walk the attempt."""
    return walk.attempt.kind not in DETACHED or walk.attempt.steps
