"""Dispatch: prepare an attempt in one transaction, then run it where this process has to; take over, retry, join.

The dispatcher owns the tasks that run attempts. Attempts whose workers need nothing but answers (external, queue) are
rows only.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Iterable, Sequence
from dataclasses import replace
from datetime import timedelta
from functools import partial
from typing import Any, TypeVar

import structlog

from app.bus.port import HintBus
from app.domain.access import ENGINE, Caller, Role, Verb
from app.domain.attempts import Attempt, Dispatched, DispatchOutcome, Outcome, Phase, Reason
from app.domain.errors import (
    Busy,
    DispatchFailed,
    EngineError,
    InvalidRequest,
    LoopPaused,
    PollTimeout,
    StoreUnavailable,
    TaskNotFound,
    TokenRevoked,
)
from app.domain.handles import HandleMint
from app.domain.redaction import describe
from app.domain.tasks import Status
from app.domain.tokens import Bearer
from app.engine.control import AttemptControl
from app.engine.credentials import Credentials
from app.engine.driver import Driver, is_detached, needs_driver
from app.engine.ops import attempts, dispatches, recovery, tasks
from app.engine.ops.access import own
from app.engine.ops.attempts import require_attempt
from app.engine.ops.credentials import is_revoked
from app.engine.ops.dispatches import Order
from app.engine.ops.idempotency import Idempotency, once, scope_of
from app.engine.ops.recovery import Walk
from app.engine.ops.rules import EngineCfg
from app.engine.retrying import retry_while_busy
from app.engine.transactions import Transactions
from app.spawning.catalog import SpawnerCatalog
from app.spawning.ports import LayerRegistry, SpawnerAdapter
from app.spawning.stack import LinkedSpawner, link
from app.state.state import State
from app.state.tables import ATTEMPTS, TASKS

R = TypeVar("R")

_log = structlog.get_logger(__name__)

Key = tuple[str, int]
"""Task and number of an attempt."""


class Dispatcher:
    """Calls that dispatch, and the attempts that run in this process."""

    def __init__(
        self,
        transactions: Transactions,
        *,
        credentials: Credentials,
        catalog: SpawnerCatalog,
        layers: LayerRegistry,
        mint: HandleMint,
        bus: HintBus,
        cfg: EngineCfg,
        node: str,
    ) -> None:
        self._transactions = transactions
        self._credentials = credentials
        self._catalog = catalog
        self._mint = mint
        self._bus = bus
        self._cfg = cfg
        self._node = node
        self._drivers: dict[Key, asyncio.Task[None]] = {}
        self._custom: dict[Key, LinkedSpawner] = {}
        self._preparing: set[asyncio.Task[Any]] = set()
        self.layer_registry = layers
        self.strict_hints = cfg.strict_hints

    @property
    def running(self) -> int:
        """How many attempts run in this process."""
        return len(self._drivers)

    def is_running(self, task_id: str, number: int) -> bool:
        """Return whether the attempt runs in this process."""
        return (task_id, number) in self._drivers

    async def stop(self) -> None:
        """Wait up to the grace period for dispatches under way, then cancel them and every running attempt.

        Workers that outlive the server go on.
        """
        if self._preparing:
            await asyncio.wait(self._preparing, timeout=self._cfg.stop_grace_ms / 1000)
        await ended(self._preparing)
        await ended(self._drivers.values())

    async def dispatch_with(
        self,
        bearer: Bearer,
        task_id: str,
        spawner: SpawnerAdapter | LinkedSpawner,
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
        linked = spawner if isinstance(spawner, LinkedSpawner) else link(spawner, (), self)
        dispatched, left = await self._dispatch(
            bearer, task_id, linked, lease=lease, idempotency=None, hold_s=hold_s or 0.0
        )
        outcome = await self.join(dispatched.task_id, dispatched.attempt, None if hold_s is None else left)
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
            linked = self.build(spawner, layers)
        except DispatchFailed:
            # The error names what the settings allow: only for callers who may use it.
            await self._require_dispatcher(bearer, task_id, str(spawner.get("kind")))
            raise
        if lease is not None and lease <= timedelta(0):
            raise InvalidRequest("give more than 0 seconds", "lease")
        dispatched, left = await self._dispatch(
            bearer, task_id, linked, lease=lease, idempotency=idempotency, hold_s=hold_s
        )
        if hold_s <= 0:
            return dispatched, None
        return dispatched, await self.join(dispatched.task_id, dispatched.attempt, left)

    def build(self, spawner: dict[str, Any], layers: Sequence[str] = ()) -> LinkedSpawner:
        """Return the stack for a spec and hints. Raises DispatchFailed."""
        return link(self._catalog.build(spawner), layers, self)

    async def _dispatch(
        self,
        bearer: Bearer,
        task_id: str,
        linked: LinkedSpawner,
        *,
        lease: timedelta | None,
        idempotency: Idempotency | None,
        hold_s: float,
    ) -> tuple[Dispatched, float]:
        """Prepare, waiting for paused dispatching while the hold lasts; return what is left of the hold too."""
        order = Order(
            linked=linked,
            lease_ms=max(1, round(lease.total_seconds() * 1000)) if lease else None,
            owner=self._node,
            repeatable=linked.router.kind in self._catalog.kinds(),
        )

        async def prepare() -> Dispatched:
            return (await self._prepare(bearer, task_id, order, idempotency))[0]

        async def prepare_and_drive() -> Dispatched:
            dispatched, fresh = await self._prepare(bearer, task_id, order, idempotency)
            if fresh:
                await self._begin(dispatched, linked, custom=not order.repeatable)
            return dispatched

        loop = asyncio.get_running_loop()
        end = loop.time() + hold_s
        begin = prepare if is_detached(linked) else lambda: self._to_the_end(prepare_and_drive())
        dispatched = await self._when_running(begin, end)
        return dispatched, max(0.0, end - loop.time())

    async def _prepare(
        self, bearer: Bearer, task_id: str, order: Order, idempotency: Idempotency | None
    ) -> tuple[Dispatched, bool]:
        """Return the attempt, and whether it was prepared just now; False for a repeated request."""
        mint = self._mint

        def run(state: State, caller: Caller) -> tuple[Dispatched, bool]:
            self._check_dispatcher(state, caller, task_id, order.linked.router.kind)

            def make() -> tuple[Dispatched, bool]:
                return dispatches.prepare(state, self._cfg, mint, caller, task_id, order)[0], True

            return once(
                state,
                scope_of(caller, "dispatch"),
                idempotency,
                make,
                name=lambda made: [made[0].task_id, made[0].attempt],
                again=lambda made: (dispatches.handed_out(state, mint, require_attempt(state, *made)[1]), False),
            )

        return await self._transactions.call("dispatch", bearer, Verb.DISPATCH_ATTEMPT, run)

    async def _to_the_end(self, coroutine: Coroutine[Any, Any, R]) -> R:
        """Run it to its end, also when the caller is cancelled: a prepared attempt must be run.

        Raises StoreUnavailable when the engine stops before.
        """
        task = asyncio.get_running_loop().create_task(coroutine)
        self._preparing.add(task)
        task.add_done_callback(self._prepared)
        try:
            return await asyncio.shield(task)
        except asyncio.CancelledError:
            caller = asyncio.current_task()
            if task.cancelled() and caller is not None and not caller.cancelling():
                raise StoreUnavailable("the engine is stopping") from None
            raise

    def _prepared(self, task: asyncio.Task[Any]) -> None:
        self._preparing.discard(task)
        if not task.cancelled():
            task.exception()  # its caller has it, or has gone

    async def _begin(self, dispatched: Dispatched, linked: LinkedSpawner, *, custom: bool) -> None:
        """Run an attempt that was prepared just now."""
        key = dispatched.task_id, dispatched.attempt
        if custom:
            # Only its caller has this adapter: while the process lives, the attempt runs with it.
            self._custom[key] = linked
        drive = partial(self.drive, *key, linked)
        await retry_while_busy(drive, doing="drive", task_id=key[0], attempt=key[1])

    async def _require_dispatcher(self, bearer: Bearer, task_id: str, kind: str) -> None:
        def check(state: State, caller: Caller) -> None:
            self._check_dispatcher(state, caller, task_id, kind)

        await self._transactions.read_as(bearer, Verb.DISPATCH_ATTEMPT, check)

    def _check_dispatcher(self, state: State, caller: Caller, task_id: str, kind: str) -> None:
        own(state, caller, task_id, Verb.DISPATCH_ATTEMPT)
        if caller.role is Role.WORKER and kind not in self._cfg.worker_spawners:
            allowed = ", ".join(sorted(self._cfg.worker_spawners))
            raise DispatchFailed(f"a worker may not use the spawner {kind!r}; it may use {allowed}")

    async def _when_running(self, prepare: Callable[[], Awaitable[Dispatched]], end: float) -> Dispatched:
        """Prepare now, or as soon as dispatching is resumed while there is time."""
        loop = asyncio.get_running_loop()
        try:
            return await prepare()
        except LoopPaused:
            if end <= loop.time():
                raise
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

    # Driving

    async def drive(self, task_id: str, number: int, linked: LinkedSpawner | None = None) -> None:
        """Start to run the attempt here, if it has to be run and is not running already."""
        if (task_id, number) in self._drivers:
            return
        walk = await self._transactions.read(lambda state: recovery.read(state, task_id, number))
        if (task_id, number) in self._drivers:
            return
        stack = linked or self.rebuild(walk)
        if walk.attempt.phase is not Phase.ENDED and needs_driver(walk):
            self.launch(walk, stack)

    def rebuild(self, walk: Walk) -> LinkedSpawner:
        """Return the stack that an attempt was prepared with, also when settings have changed since."""
        custom = self._custom.get((walk.task.id, walk.attempt.attempt))
        if custom is not None:
            return custom
        router = self._catalog.rebuild(walk.attempt.spawner.value)
        hints = tuple(walk.attempt.layers.value)
        return LinkedSpawner(router, self.layer_registry.stack(hints), hints)

    def launch(self, walk: Walk, linked: LinkedSpawner) -> None:
        """Run the attempt in a task of its own."""
        key = (walk.task.id, walk.attempt.attempt)
        control = AttemptControl(
            self._transactions,
            walk,
            mint=self._mint,
            cfg=self._cfg,
            token=lambda: self._credentials.attempt_token(*key),
        )
        driver = Driver(self._transactions, walk, linked, control, layers=self.layer_registry, cfg=self._cfg)
        task = asyncio.get_running_loop().create_task(driver.run(), name=f"attempt {key[0]} {key[1]}")
        self._drivers[key] = task
        task.add_done_callback(lambda done: self._driven(key, done))

    def _driven(self, key: Key, done: asyncio.Task[None]) -> None:
        self._drivers.pop(key, None)
        self._custom.pop(key, None)
        if not done.cancelled() and done.exception() is not None:
            _log.error("attempt_runner_failed", task_id=key[0], attempt=key[1], exc_info=done.exception())

    # Waiting for an attempt

    async def join(self, task_id: str, number: int, hold_s: float | None) -> DispatchOutcome | None:
        """Return the outcome of an attempt; None when the hold ended first. Without a hold, wait as long as needed."""

        def probe() -> Awaitable[DispatchOutcome | None]:
            return self._transactions.read(lambda state: _outcome(state, task_id, number))

        topics = (f"task:{task_id}",)
        if hold_s is not None:
            return await self._transactions.wait(topics, probe, hold_s)
        while True:
            found = await self._transactions.wait(topics, probe, self._cfg.longest_hold_ms / 1000)
            if found is not None:
                return found

    # Retries

    async def redispatch(self, task_id: str) -> None:
        """Dispatch a task again whose retry is due, as it was dispatched before."""

        try:
            made = await self._transactions.run("redispatch", lambda state: self._prepare_again(state, task_id))
        except LoopPaused:
            return
        except Busy:
            raise
        except TokenRevoked:
            reason, detail = Reason.REVOKED, "the token that dispatched it was revoked"
            await self._transactions.run(
                "give_up", lambda state: attempts.give_up_retry(state, task_id, reason, detail)
            )
            return
        except Exception as error:  # noqa: BLE001 - a layer that cannot prepare the attempt must not keep the task waiting
            _log.warning(
                "retry_failed", task_id=task_id, error=describe(error), exc_info=not isinstance(error, EngineError)
            )
            reason, detail = Reason.SPAWN_FAILED, describe(error)
            await self._transactions.run(
                "give_up", lambda state: attempts.give_up_retry(state, task_id, reason, detail)
            )
            return
        if made is not None:
            await self.drive(*made)

    def _prepare_again(self, state: State, task_id: str) -> Key | None:
        """Prepare an attempt like the last one; None when none is due. Raises TokenRevoked."""
        task = TASKS.lock(state.db, task_id)
        if task is None or task.retry_at is None or task.retry_at > state.now or task.status is not Status.RUNNING:
            return None
        last = ATTEMPTS.get(state.db, task.id, task.attempt)
        if last is None:
            return None
        if is_revoked(state, last.parent_jti):
            raise TokenRevoked
        linked = self.rebuild(Walk(task, last, attempts.facts_for(state, task, last)))
        order = Order(linked=linked, lease_ms=last.lease_ms, owner=self._node)
        caller = replace(ENGINE, jti=last.parent_jti, session_id=last.session_id)
        _, attempt = dispatches.prepare(state, self._cfg, self._mint, caller, task.id, order)
        return task.id, attempt.attempt


def _outcome(state: State, task_id: str, number: int) -> DispatchOutcome | None:
    """Return the outcome for whoever dispatched this attempt, also of the retries that follow it; None while there is
    none.
    """
    task = TASKS.get(state.db, task_id)
    attempt = ATTEMPTS.get(state.db, task_id, number)
    if task is None or attempt is None:
        raise TaskNotFound(task_id)
    if task.status is Status.SUSPENDED:
        keys = tasks.view(state, task).suspended_on
        return DispatchOutcome(outcome=Outcome.SUSPENDED, key=keys[0] if keys else None)
    if attempt.is_live or task.retry_at is not None:
        return None
    if task.attempt > number and task.status not in (Status.PASS, Status.BLOCKED, Status.CANCELLED):
        return None
    last = attempt if task.attempt == number else ATTEMPTS.get(state.db, task_id, task.attempt)
    return _settled_outcome(task.status, task.last_result, last)


def _settled_outcome(status: Status, result: Any, attempt: Attempt | None) -> DispatchOutcome:
    reason = attempt.reason if attempt else None
    if status is Status.PASS:
        return DispatchOutcome(outcome=Outcome.PASS, value=result, reason=reason)
    if status is Status.CANCELLED:
        return DispatchOutcome(outcome=Outcome.CANCELLED, reason=reason)
    if attempt is not None and attempt.outcome is Outcome.TIMEOUT:
        return DispatchOutcome(outcome=Outcome.TIMEOUT, value=result, reason=reason)
    return DispatchOutcome(outcome=Outcome.BLOCKED, value=result, reason=reason)


async def ended(running: Iterable[asyncio.Task[Any]]) -> None:
    """Cancel these tasks and wait until they have ended; their errors were logged where they happened."""
    running = list(running)
    for task in running:
        task.cancel()
    await asyncio.gather(*running, return_exceptions=True)
