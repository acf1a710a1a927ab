"""Dispatch: prepare an attempt in one transaction, then run it here where a server process has to.

The dispatcher owns the tasks that run attempts. Attempts of detached spawners without driving layers are rows only.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Iterable, Sequence
from datetime import timedelta
from functools import partial
from typing import Any, Literal, TypeVar

import structlog

from app.bus.port import HintBus
from app.domain.access import ENGINE, Caller, Role, Verb
from app.domain.attempts import Attempt, Dispatched, DispatchOutcome, Phase, Reason
from app.domain.delegation import Asked
from app.domain.errors import (
    Busy,
    DispatchFailed,
    EngineError,
    InvalidName,
    InvalidRequest,
    LoopPaused,
    PollTimeout,
    StoreUnavailable,
    TokenExpired,
    TokenRevoked,
)
from app.domain.names import check_name
from app.domain.redaction import describe
from app.domain.tokens import Bearer
from app.engine.attempt_runner import AttemptRunner, RunnerParts
from app.engine.ops import attempts, dispatches, settling, timers
from app.engine.ops.access import require_access
from app.engine.ops.attempts import require_attempt
from app.engine.ops.dispatches import DispatchRequest, Prepared
from app.engine.ops.idempotency import Idempotency, once, scope_of
from app.spawning.catalog import SpawnerCatalog
from app.spawning.ports import Job, LayerRegistry, SpawnerAdapter
from app.spawning.stack import ActiveStack, SpawnerStack, link
from app.state.state import State

R = TypeVar("R")

_log = structlog.get_logger(__name__)

Key = tuple[str, int]
"""Task and number of an attempt."""


class Dispatcher:
    """Dispatches attempts, and owns those that run in this process. `node` returns the id of this node."""

    def __init__(self, parts: RunnerParts, *, catalog: SpawnerCatalog, bus: HintBus, node: Callable[[], str]) -> None:
        self._parts = parts
        self._transactions = parts.transactions
        self._cfg = parts.cfg
        self._catalog = catalog
        self._bus = bus
        self._running: dict[Key, asyncio.Task[None]] = {}
        self._preparing: set[asyncio.Task[Any]] = set()
        self._node = node

    @property
    def node(self) -> str:
        """The id of this node, which owns what it drives."""
        return self._node()

    @property
    def layer_registry(self) -> LayerRegistry:
        """The layers that `link` finds."""
        return self._parts.layers

    @property
    def strict_hints(self) -> bool:
        """Whether unknown layer hints are refused."""
        return self._cfg.strict_hints

    @property
    def running(self) -> int:
        """How many attempts run in this process."""
        return len(self._running)

    @property
    def outputs_dropped(self) -> int:
        """How many outputs of attempts that run in this process were dropped at their limits."""
        return self._parts.counts["outputs_dropped"]

    @property
    def fenced_writes(self) -> int:
        """How many writes to attempts were refused because another node had taken them over."""
        return self._parts.counts["fenced_writes"]

    async def stop(self) -> None:
        """Wait up to the grace period for dispatches under way, then cancel them and every running attempt.

        Workers that outlive the server go on.
        """
        if self._preparing:
            await asyncio.wait(self._preparing, timeout=self._cfg.stop_grace_ms / 1000)
        await cancel_and_wait(self._preparing)
        await self.end_running()

    async def end_running(self) -> None:
        """Cancel every running attempt, which is left to the next node. Workers that outlive the server go on."""
        await cancel_and_wait(self._running.values())

    # Dispatch

    def build(self, spawner: dict[str, Any], layers: Sequence[str] = ()) -> SpawnerStack:
        """Return the stack for a spec and hints. Raises DispatchFailed, InvalidName."""
        for field in ("queue", "backend_id"):
            if isinstance(name := spawner.get(field), str):
                check_name(name, field)
        return link(self._catalog.build(spawner), layers, self)

    async def dispatch_with(
        self,
        bearer: Bearer,
        task_id: str,
        spawner: SpawnerAdapter | SpawnerStack,
        *,
        wait: timedelta | None = None,
        lease: timedelta | None = None,
    ) -> DispatchOutcome:
        """Dispatch one attempt through a spawner (plain, or linked with layers) and wait for its outcome.

        Without `wait` it waits as long as it takes, but not for paused dispatching. Returns `suspended` with the key as
        soon as a question is asked. Raises InvalidTransition, TaskNotFound, PollTimeout at the end of `wait`, and
        LoopPaused while dispatching is paused, with `wait` at its end. Cancelling the caller does not end the attempt.
        """
        hold_s = None if wait is None else self._transactions.hold_seconds(wait)
        stack = spawner if isinstance(spawner, SpawnerStack) else link(spawner, (), self)
        request = self.request(stack, stack.hints, lease)
        dispatched, left_s = await self._dispatch(bearer, task_id, request, None, hold_s=hold_s or 0.0)
        outcome = await self.join(task_id, dispatched.attempt, None if hold_s is None else left_s)
        if outcome is None:
            raise PollTimeout(f"Attempt {dispatched.attempt} of {task_id}", hold_s or 0)
        return outcome

    async def dispatch(
        self,
        bearer: Bearer,
        task_id: str,
        spawner: dict[str, Any],
        *,
        layers: Sequence[str] = (),
        lease: timedelta | None = None,
        wait: timedelta = timedelta(0),
        idempotency: Idempotency | None = None,
    ) -> tuple[Dispatched, DispatchOutcome | None]:
        """Dispatch by a spawner's spec, and wait up to `wait` for the outcome, which is None when there is none yet.

        Raises DispatchFailed, InvalidTransition, TaskNotFound, RoleViolation, InvalidRequest, and LoopPaused while
        dispatching is paused, with `wait` at its end.
        """
        hold_s = self._transactions.hold_seconds(wait)
        try:
            stack = self.build(spawner, layers)
        except (DispatchFailed, InvalidName):
            # The error names what the settings allow: only for callers who may use it.
            check = partial(self._check_dispatcher, task_id=task_id, spec=spawner, layers=layers)
            await self._transactions.read_as(bearer, Verb.DISPATCH_ATTEMPT, check)
            raise
        if lease is not None and lease <= timedelta(0):
            raise InvalidRequest("give more than 0 seconds", "lease")
        request = self.request(stack, layers, lease)
        dispatched, left_s = await self._dispatch(bearer, task_id, request, idempotency, hold_s=hold_s)
        outcome = await self.join(task_id, dispatched.attempt, left_s) if hold_s > 0 else None
        return dispatched, outcome

    async def _dispatch(
        self,
        bearer: Bearer,
        task_id: str,
        request: DispatchRequest,
        idempotency: Idempotency | None,
        *,
        hold_s: float,
    ) -> tuple[Dispatched, float]:
        """Prepare an attempt and run it, waiting while dispatching is paused; return what is left of the hold too."""

        async def prepare_and_run() -> Dispatched:
            dispatched, prepared = await self._prepare(bearer, task_id, request, idempotency)
            if prepared is not None:
                self.run(prepared.attempt, prepared.job, prepared.stack)
            return dispatched

        # An attempt that was prepared has to be run, even if its caller has gone meanwhile.
        may_drive = request.stack.may_drive or self._transactions.may_be_worker(bearer)
        prepare = partial(self._to_the_end, prepare_and_run) if may_drive else prepare_and_run
        loop = asyncio.get_running_loop()
        end = loop.time() + hold_s
        try:
            dispatched = await prepare()
        except LoopPaused:
            if hold_s <= 0:
                raise
            dispatched = await self._when_resumed(prepare, end)
        return dispatched, max(0.0, end - loop.time())

    def request(
        self, stack: SpawnerStack, layers: Sequence[str] = (), lease: timedelta | None = None
    ) -> DispatchRequest:
        """Return the request for an attempt by this stack, which this node drives if it has to be driven."""
        return DispatchRequest(
            stack=stack,
            layers=layers,
            lease_ms=max(1, round(lease.total_seconds() * 1000)) if lease else None,
            owner=self.node,
            repeatable=stack.router.kind in self._catalog.kinds(),
        )

    async def _prepare(
        self, bearer: Bearer, task_id: str, request: DispatchRequest, idempotency: Idempotency | None
    ) -> tuple[Dispatched, Prepared | None]:
        """Return what the dispatcher gets, and the new attempt; None for a repeated request."""
        cfg, mint = self._cfg, self._parts.mint

        def make(state: State, caller: Caller) -> tuple[Dispatched, Prepared | None]:
            prepared = dispatches.prepare(state, cfg, caller, task_id, request)
            return dispatches.dispatched(state, mint, prepared.attempt), prepared

        def run(state: State, caller: Caller) -> tuple[Dispatched, Prepared | None]:
            require_access(state, caller, task_id, Verb.DISPATCH_ATTEMPT)
            if idempotency is None:
                return make(state, caller)
            return once(
                state,
                scope_of(caller, "dispatch"),
                idempotency,
                lambda: make(state, caller),
                name=lambda made: [made[0].task_id, made[0].attempt],
                again=lambda made: (
                    dispatches.dispatched(state, mint, require_attempt(state, made[0], made[1], caller)[1]),
                    None,
                ),
            )

        return await self._transactions.call("dispatch", bearer, Verb.DISPATCH_ATTEMPT, run)

    def _check_dispatcher(
        self, state: State, caller: Caller, task_id: str, spec: dict[str, Any], layers: Sequence[str]
    ) -> None:
        require_access(state, caller, task_id, Verb.DISPATCH_ATTEMPT)
        if caller.role is Role.WORKER:
            self._cfg.workers.check(_asked(spec, layers))

    async def _when_resumed(self, prepare: Callable[[], Awaitable[R]], end: float) -> R:
        """Prepare as soon as dispatching is resumed while there is time. Raises LoopPaused at `end`."""
        loop = asyncio.get_running_loop()
        subscription = self._bus.subscribe("loop")
        try:
            while True:
                subscription.clear()
                try:
                    return await prepare()
                except LoopPaused:
                    left = end - loop.time()
                    if left <= 0:
                        raise
                await subscription.wait(min(left, self._cfg.poll_interval_ms / 1000))
        finally:
            subscription.close()

    async def _to_the_end(self, prepare: Callable[[], Coroutine[Any, Any, R]]) -> R:
        """Await it to its end, even if the caller is cancelled. Raises StoreUnavailable when the engine stops first."""
        task = asyncio.get_running_loop().create_task(prepare())
        self._preparing.add(task)
        task.add_done_callback(self._prepared)
        return await to_the_end(task)

    def _prepared(self, task: asyncio.Task[Any]) -> None:
        self._preparing.discard(task)
        if not task.cancelled():
            task.exception()  # its caller has it, or has gone

    # Run

    async def run_prepared(self, prepare: Callable[[], Awaitable[tuple[R, Prepared | None]]]) -> R:
        """Await what prepares an attempt, run that here where it has to be, and return the rest.

        An attempt that was prepared is run even if the caller is cancelled meanwhile.
        """

        async def prepare_and_run() -> R:
            result, prepared = await prepare()
            if prepared is not None:
                self.run(prepared.attempt, prepared.job, prepared.stack)
            return result

        return await self._to_the_end(prepare_and_run)

    def run(self, attempt: Attempt, job: Job | None, stack: ActiveStack) -> None:
        """Start to run the attempt in this process, if it needs a driver and has none here yet.

        One that needs a driver has a job.
        """
        key = attempt.task_id, attempt.attempt
        if job is None or key in self._running or attempt.phase is Phase.ENDED or not attempt.needs_driver:
            return
        runner = AttemptRunner(self._parts, attempt, job, stack)
        task = asyncio.get_running_loop().create_task(runner.run(), name=f"attempt {key[0]} {key[1]}")
        self._running[key] = task
        task.add_done_callback(partial(self._ended, key))

    def _ended(self, key: Key, task: asyncio.Task[None]) -> None:
        self._running.pop(key, None)
        if not task.cancelled() and task.exception() is not None:
            _log.error("attempt_runner_failed", task_id=key[0], attempt=key[1], exc_info=task.exception())

    async def run_again(self, task_id: str, number: int) -> None:
        """Run an attempt that was prepared earlier, from the phase that its row records, unless it runs already."""
        if (task_id, number) not in self._running:
            attempt, job = await self._transactions.read(lambda state: attempts.load(state, self._cfg, task_id, number))
            self.run(attempt, job, self.rebuild(attempt).resolve(job.facts))

    def rebuild(self, attempt: Attempt) -> SpawnerStack:
        """Return the stack that an attempt was prepared with, even if settings have changed since."""
        hints = tuple(attempt.layers.value)
        return SpawnerStack(self._catalog.rebuild(attempt.spawner.value), self._parts.layers.stack(hints), hints)

    # Join

    async def join(self, task_id: str, number: int, hold_s: float | None) -> DispatchOutcome | None:
        """Return the outcome of an attempt; None when the hold ended first. Without a hold, wait as long as needed."""

        def probe() -> Awaitable[DispatchOutcome | None]:
            return self._transactions.read(lambda state: dispatches.outcome(state, task_id, number))

        topics, longest_s = (f"task:{task_id}",), self._cfg.longest_hold_ms / 1000
        while True:
            found = await self._transactions.wait(topics, probe, longest_s if hold_s is None else hold_s)
            if found is not None or hold_s is not None:
                return found

    # Retry

    async def redispatch(self, task_id: str) -> bool:
        """Dispatch a task again whose retry is due, like its last attempt; not while dispatching is paused.

        Returns False when another transaction has the task locked, perhaps to do that.
        """
        try:
            prepared = await self._transactions.run("redispatch", partial(self._prepare_again, task_id=task_id))
        except LoopPaused:
            return True
        except Busy:
            raise
        except TokenRevoked:
            await self._give_up(task_id, Reason.REVOKED, "the token that dispatched it was revoked")
        except TokenExpired:
            await self._give_up(task_id, Reason.REVOKED, "the token that dispatched it expired")
        except Exception as error:  # noqa: BLE001 - a layer that cannot prepare the attempt must not keep the task waiting
            detail = describe(error)
            await self._give_up(task_id, Reason.SPAWN_FAILED, detail)
            _log.warning("retry_failed", task_id=task_id, error=detail, exc_info=not isinstance(error, EngineError))
        else:
            if isinstance(prepared, Prepared):
                self.run(prepared.attempt, prepared.job, prepared.stack)
            return prepared is not False
        return True

    async def _give_up(self, task_id: str, reason: Reason, detail: str) -> None:
        give_up = partial(settling.give_up_retry, task_id=task_id, reason=reason, detail=detail)
        await self._transactions.run("give_up", give_up)

    def _prepare_again(self, state: State, task_id: str) -> Prepared | Literal[False] | None:
        """Prepare an attempt like the last one; None when none is due, False when the task is locked.

        Raises TokenRevoked.
        """
        if not timers.claim(state, [task_id]):
            return False
        last = dispatches.due_for_retry(state, task_id)
        if last is None:
            return None
        stack = self.rebuild(last)
        request = DispatchRequest(stack=stack, layers=stack.hints, lease_ms=last.lease_ms, owner=self.node, again=last)
        caller = ENGINE._replace(
            key_id=last.key_id,
            further_keys=frozenset((last.further_keys or "").split()),
            jti=last.parent_jti,
            session_id=last.session_id,
        )
        return dispatches.prepare(state, self._cfg, caller, task_id, request)


def _asked(spawner: dict[str, Any], layers: Sequence[str]) -> Asked:
    """Return what a dispatch asks for, as far as it is known before its layers are."""
    return Asked(spawner=str(spawner.get("kind")), function=spawner.get("function"), layers=frozenset(layers))


async def to_the_end(task: asyncio.Task[R], *, unsure: bool = False) -> R:
    """Return the task's result; cancelling the caller does not cancel the task.

    Raises StoreUnavailable when the task is cancelled, as by an engine that stops.
    """
    try:
        return await asyncio.shield(task)
    except asyncio.CancelledError:
        caller = asyncio.current_task()
        if task.cancelled() and caller is not None and not caller.cancelling():
            raise StoreUnavailable("the engine is stopping", unsure=unsure) from None
        raise


async def cancel_and_wait(running: Iterable[asyncio.Task[Any]]) -> None:
    """Cancel these tasks and wait until they have ended; their errors were logged where they happened."""
    running = list(running)
    for task in running:
        task.cancel()
    await asyncio.gather(*running, return_exceptions=True)
