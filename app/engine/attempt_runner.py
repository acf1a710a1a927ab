"""Run one attempt in this server process: spawn its worker, wait for its end or the attempt's, run the layers' steps.

Attempts of detached spawners without driving layers are never run: they are rows, and cost nothing while they wait. A
runner begins where the attempt's row says it was, so that it can go on with what an earlier server process left.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable, Generator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from functools import partial
from typing import Any, TypeVar

import structlog

from app.domain.attempts import Attempt, DispatchOutcome, Outcome, Phase, Reason
from app.domain.errors import AttemptSuperseded, Busy, Conflict, EngineError, InvalidRequest
from app.domain.events import EventKind
from app.domain.handles import HandleMint
from app.domain.json import Json
from app.domain.outputs import OutputEvent, OutputType
from app.domain.redaction import describe, printable
from app.domain.tasks import Task
from app.domain.tokens import CapToken
from app.engine.ops import attempts, finals, leases, outputs, recovery, settling
from app.engine.ops.rules import EngineCfg
from app.engine.retrying import retry_while_busy
from app.engine.transactions import Transactions
from app.spawning.backends.protocols import HeldElsewhere, steps_done
from app.spawning.ports import Exit, Job, LayerRegistry, SpawnFailed, SpawnRefused, Worker
from app.spawning.stack import ActiveStack
from app.state.state import State
from app.state.tables import ATTEMPTS

R = TypeVar("R")

_STOPPED = "stopped"
"""The name of the step that stops the worker of an attempt which is over."""

_WORKER_IS_GONE = (Reason.FINAL, Reason.WORKER_FAILED, Reason.SPAWN_FAILED, Reason.REFUSED)
"""Reasons after which no worker has to be stopped: it ended by itself, or there was none."""

_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class RunnerParts:
    """The parts that every runner of an engine uses. `sign` makes worker tokens; `counts` are for metrics."""

    transactions: Transactions
    layers: LayerRegistry
    mint: HandleMint
    sign: Callable[[Attempt], CapToken]
    cfg: EngineCfg
    counts: Counter[str] = field(default_factory=Counter[str])


class AttemptControl:
    """One attempt under one epoch: the `Control` of its spawner and layers, and its runner's own transactions.

    Every call raises AttemptSuperseded or Cancelled once the attempt is over or another server process has it. While
    the store is away calls wait for it.
    """

    def __init__(self, parts: RunnerParts, attempt: Attempt) -> None:
        self._parts = parts
        self.task_id = attempt.task_id
        self.number = attempt.attempt
        self.epoch = attempt.epoch

    async def transact(self, op: str, fn: Callable[[State, Task, Attempt], R], *, once: bool = False) -> R:
        """Run `fn` on the live attempt, locked, in one transaction.

        With `once` a commit whose outcome is unknown is not repeated, and raises StoreUnavailable.
        """

        def run(state: State) -> R:
            return fn(state, *attempts.require_own_attempt(state, self.task_id, self.number, epoch=self.epoch))

        try:
            return await self.retry(lambda: self._parts.transactions.run(op, run), doing=op, once=once)
        except AttemptSuperseded as error:
            self._parts.counts["fenced_writes"] += error.reason == attempts.TAKEN_OVER
            raise

    async def retry(self, call: Callable[[], Awaitable[R]], *, doing: str, once: bool = False) -> R:
        """Await `call()`, again while the store is away: an outage must not fail a worker or strand its task."""
        return await retry_while_busy(call, doing=doing, once=once, task_id=self.task_id, attempt=self.number)

    async def read(self) -> Attempt | None:
        """Return the attempt's current row, whichever server process drives it."""
        key, read = (self.task_id, self.number), self._parts.transactions.read
        return await self.retry(lambda: read(lambda state: ATTEMPTS.get(state.db, *key)), doing="read_attempt")

    # Control

    async def let_through(self) -> None:
        """Let the worker act from now on."""
        cfg = self._parts.cfg
        await self.transact("let_through", lambda state, _, attempt: attempts.let_through(state, cfg, attempt))

    async def mint_handle(self) -> str:
        """Return a fresh handle for this attempt; earlier ones stay valid."""
        mint = self._parts.mint

        def run(state: State, task: Task, attempt: Attempt) -> str:
            if attempt.phase is Phase.HELD:
                # Its Final is in: no worker is to be started for it again.
                raise AttemptSuperseded(task.id, attempt.attempt, "its final result is with a senior")
            return attempts.new_handle(state, mint, task.id, attempt.attempt)

        return await self.transact("mint_handle", run)

    async def worker_token(self) -> CapToken:
        """Return the attempt's worker token."""
        sign = self._parts.sign
        return await self.transact("worker_token", lambda _, __, attempt: sign(attempt))

    async def record_process(self, info: dict[str, Any]) -> None:
        """Store what is needed to find the worker again."""
        process = Json.of(info)
        await self.transact(
            "record_process", lambda s, _, a: ATTEMPTS.update(s.db, a.task_id, a.attempt, process=process)
        )

    async def output(self, event: OutputEvent) -> None:
        """Append an output event in the worker's name, or drop it at the limits of the attempt.

        Raises InvalidRequest for a Final: the worker exits with it.
        """
        if event.type is OutputType.FINAL:
            raise InvalidRequest("a final result is what the worker exits with or submits", "type")
        cfg = self._parts.cfg
        dropped = await self.transact(
            "emit_output", lambda s, _, a: outputs.append_or_drop(s, cfg, a, event), once=True
        )
        self._parts.counts["outputs_dropped"] += dropped

    async def bake_system(self, system: str | None) -> None:
        """Set the system prompt that the worker fetches."""
        await self.transact("bake_system", lambda s, _, a: attempts.bake_system(s, a.task_id, a.attempt, system))

    async def held_long(self, held_s: float) -> None:
        """Emit an event that the attempt outlived its limit, once."""

        def run(state: State, task: Task, attempt: Attempt) -> None:
            if attempt.warned_at is None:
                ATTEMPTS.update(state.db, task.id, attempt.attempt, warned_at=state.now)
                state.emit(
                    EventKind.ATTEMPT_HELD_LONG,
                    namespace=task.namespace,
                    task_id=task.id,
                    attempt=attempt.attempt,
                    held_s=held_s,
                )

        await self.transact("held_long", run)

    async def hand_over(self, held: HeldElsewhere) -> None:
        """Give the attempt up, in whatever phase it is, to the node that has what its next step needs."""
        key, epoch, done = (self.task_id, self.number), self.epoch, held.done
        release = partial(recovery.hand_over, epoch=epoch, waits_for=held.name, done=done)
        call = partial(self._parts.transactions.run, "hand_over", lambda state: release(state, *key))
        await self.retry(call, doing="hand_over")
        _log.info("attempt_handed_over", waits_for=held.name)

    async def ended(self) -> None:
        """Wait until the attempt is no longer live, or another server process has taken it over."""
        topics, hold_s = (f"attempt:{self.task_id}",), self._parts.cfg.longest_hold_ms / 1000
        wait = self._parts.transactions.wait
        while not await self.retry(lambda: wait(topics, self._has_ended, hold_s), doing="await_end"):
            pass

    async def _has_ended(self) -> bool | None:
        key = self.task_id, self.number
        row = await self._parts.transactions.read(lambda state: ATTEMPTS.get(state.db, *key))
        return True if row is None or not row.is_live or row.epoch != self.epoch else None


class AttemptRunner:
    """Runs one attempt through spawn, join and the steps after its end."""

    def __init__(self, parts: RunnerParts, attempt: Attempt, job: Job, stack: ActiveStack) -> None:
        self._parts = parts
        self._phase = attempt.phase
        self._lease_ms = attempt.lease_ms
        self._job = job
        self._stack = stack
        self._outlives = stack.spawner.outlives_server
        self._grace_s = parts.cfg.stop_grace_ms / 1000
        self._control = AttemptControl(parts, attempt)

    async def run(self) -> None:
        """Run the attempt to its end. Every way out settles it, but cancelling, which leaves it to the next runner."""
        with structlog.contextvars.bound_contextvars(task_id=self._job.task_id, attempt=self._job.attempt):
            try:
                if self._phase is not Phase.FINISHING:
                    await self._run_live()
                elif _STOPPED not in steps_done(self._job):
                    await self._stop_orphan()
                with _stopped_before():
                    await self._run_steps_after()
            except HeldElsewhere as held:
                await self._control.hand_over(held)

    async def _run_live(self) -> None:
        ended = asyncio.ensure_future(self._control.ended())
        try:
            worker = await self._start(ended)
            if worker is not None:
                await self._join(worker, ended)
            await ended
        except Exception as error:  # noqa: BLE001 - whatever a spawner, worker or layer does wrong must settle its attempt
            await self._fail(Reason.WORKER_FAILED, describe(error))
            _log.warning("attempt_broke", error=describe(error), exc_info=error)
        finally:
            ended.cancel()

    # Spawn

    async def _start(self, ended: asyncio.Future[None]) -> Worker | None:
        """Return the worker; None when the attempt ended first, the spawn failed, or its Final is held."""
        if self._phase is Phase.HELD:
            return None
        again = self._phase in (Phase.RUNNING, Phase.QUEUED)
        begin = self._stack.rejoin if again else self._stack.spawn
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
            over = ended.done()
            await self._fail(Reason.SPAWN_FAILED, describe(error))
            if not over:
                _log.warning("spawn_raised", error=describe(error), exc_info=not isinstance(error, EngineError))
            return None
        finally:
            await _cancel(spawning)
        if worker is not None and not again:
            await self._record_start(worker)
        return worker

    async def _record_start(self, worker: Worker) -> None:
        cfg = self._parts.cfg
        into = Phase.QUEUED if self._stack.spawner.first_phase is Phase.QUEUED else Phase.RUNNING
        try:
            await self._control.transact("started", lambda s, _, attempt: attempts.started(s, cfg, attempt, into=into))
        except Conflict:
            pass  # the attempt is over already: joining its worker stops it
        except BaseException:
            await asyncio.shield(worker.stop(self._grace_s))
            raise

    # Join

    async def _join(self, worker: Worker, ended: asyncio.Future[None]) -> None:
        """Wait for the worker's end or the attempt's, whichever comes first, renewing the lease meanwhile."""
        joining = asyncio.ensure_future(worker.join())
        # A worker outside this process sends its own heartbeats.
        renewing = None if self._outlives else asyncio.ensure_future(self._renew_lease())
        try:
            await asyncio.wait({joining, ended}, return_when=asyncio.FIRST_COMPLETED)
            settled = joining.done() and not ended.done() and await self._settle(_exit_of(joining))
            if not settled:
                await self._release(worker, joining)
        finally:
            if renewing is not None:
                renewing.cancel()
            # A cancelled runner leaves workers that outlive the server to the next one.
            if not joining.done() and not self._outlives:
                await asyncio.shield(worker.stop(self._grace_s))
            await _cancel(joining)

    async def _release(self, worker: Worker, joining: asyncio.Future[Exit]) -> None:
        """Stop a worker whose attempt is over. One that submitted the Final gets the grace period to end by itself."""
        attempt = await self._control.read()
        if attempt is not None and attempt.is_live and self._outlives:
            return  # another server process has taken over both
        if attempt is not None and attempt.final is not None and attempt.reason in (Reason.FINAL, Reason.WORKER_FAILED):
            await asyncio.wait({joining}, timeout=self._grace_s)
            if joining.done():
                return
        await worker.stop(self._grace_s)

    async def _stop_orphan(self) -> None:
        """Stop the worker of an attempt that ended under an earlier server process, which may have died before that."""
        attempt = await self._control.read()
        if not self._outlives or attempt is None or attempt.reason in _WORKER_IS_GONE:
            return
        try:
            worker = await self._stack.rejoin(self._job, self._control)
            await worker.stop(self._grace_s)
        except Exception as error:  # noqa: BLE001 - one that cannot be reached must not keep the layers' steps from running
            _log.info("worker_not_stopped", error=describe(error))

    async def _renew_lease(self) -> None:
        """Renew the lease of a worker in this process whenever a third of it has passed."""
        cfg, control = self._parts.cfg, self._control
        key, epoch = (control.task_id, control.number), control.epoch
        pause = min(self._lease_ms or cfg.worker_token_life_ms, cfg.worker_token_life_ms) / 3000
        while True:
            await asyncio.sleep(pause)
            with suppress(Busy):
                await self._parts.transactions.run(
                    "renew_lease", lambda state: leases.record_heartbeat_of(state, cfg, *key, epoch=epoch)
                )

    # Settle

    async def _settle(self, exit: Exit) -> bool:
        """Settle the attempt by its worker's end. False when it was over before: the worker has still to be stopped."""
        final, layers = exit.final, self._parts.layers
        if final is None:
            return await self._fail(Reason.WORKER_FAILED, exit.detail)

        def run(state: State, task: Task, attempt: Attempt) -> None:
            if attempt.phase is not Phase.HELD:
                finals.accept(state, layers, task, attempt, final, worker_gone=True)

        return await self._if_live("settle", run)

    async def _fail(self, reason: Reason, detail: str) -> bool:
        shown = printable(detail)

        def run(state: State, task: Task, attempt: Attempt) -> None:
            if attempt.phase is not Phase.HELD:  # a Final that is held came before
                settling.fail_attempt(state, task, attempt, reason, shown, worker_gone=True)

        return await self._if_live("fail", run)

    async def _if_live(self, op: str, fn: Callable[[State, Task, Attempt], None]) -> bool:
        try:
            await self._control.transact(op, fn)
        except Conflict:
            return False
        return True

    async def _run_steps_after(self) -> None:
        attempt = await self._control.read()
        if attempt is None or attempt.phase is not Phase.FINISHING:
            return
        outcome = DispatchOutcome(
            outcome=attempt.outcome or Outcome.BLOCKED, value=attempt.final, reason=attempt.reason
        )
        await self._stack.after(self._job, self._control, outcome)
        finish = partial(settling.finish_attempt, task_id=self._job.task_id, number=self._job.attempt)
        await self._control.retry(partial(self._parts.transactions.run, "finish", finish), doing="finish")


@contextmanager
def _stopped_before() -> Generator[None]:
    """Let the next node know that the worker needs not to be stopped again, if there is one."""
    try:
        yield
    except HeldElsewhere as held:
        held.done.add(_STOPPED)
        raise


def _exit_of(joining: asyncio.Future[Exit]) -> Exit:
    if joining.cancelled():
        return Exit(detail="waiting for the worker was cancelled from within")
    error = joining.exception()
    if isinstance(error, HeldElsewhere):
        raise error
    return joining.result() if error is None else Exit(detail=describe(error))


async def _cancel(future: asyncio.Future[R]) -> None:
    """Cancel a future and wait for its end, ignoring its result."""
    future.cancel()
    await asyncio.wait({future})
    if not future.cancelled():
        future.exception()
