"""What every part of the engine stands on: the store, the hints, the credentials' stateless checks, the waits."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import timedelta
from typing import TypeVar, cast

import structlog

from app.bus.port import HintBus
from app.domain.access import Caller, Role, RoleVerbGate, Verb
from app.domain.clock import Clock
from app.domain.errors import Busy, EngineError, InvalidRequest, NotFound, StoreUnavailable
from app.domain.handles import HandleMint
from app.domain.tokens import Bearer, Claims, Handle, TokenSigner
from app.engine.couriers import Couriers
from app.engine.feed import Feed
from app.engine.ops import attempts, clocks
from app.engine.ops.access import Digest, Presented, Reach, admit, reach
from app.engine.ops.rules import EngineCfg
from app.spawning.backends.protocols import OperatorBackend, SeniorBridge, SpawnHook
from app.spawning.backends.registry import Registry
from app.spawning.catalog import SpawnerCatalog
from app.spawning.outbound.webhooks import WebhookSender
from app.spawning.ports import LayerRegistry
from app.state.policies import HoldPolicy
from app.state.port import Store
from app.state.state import Effects, Keep, State
from app.state.tables import ATTEMPTS

R = TypeVar("R")
V = TypeVar("V")

STORE_PAUSE_S = 0.5
"""Between two tries of what has to be done while the store is away."""

_log = structlog.get_logger(__name__)

StateFn = Callable[[State], R]
CallerFn = Callable[[State, Caller], R | Keep[EngineError]]


@dataclass(frozen=True, slots=True)
class Registries:
    """Live objects by id: senior bridges, spawn hooks, operator backends."""

    bridges: Registry[SeniorBridge] = field(default_factory=Registry[SeniorBridge])
    hooks: Registry[SpawnHook] = field(default_factory=Registry[SpawnHook])
    operators: Registry[OperatorBackend] = field(default_factory=Registry[OperatorBackend])


@dataclass(frozen=True, slots=True, kw_only=True)
class Parts:
    """What an engine is built of; `app.engine.engine` has the defaults."""

    cfg: EngineCfg
    open_store: Callable[[], Store]
    bus: HintBus
    signer: TokenSigner
    mint: HandleMint
    gate: RoleVerbGate
    layers: LayerRegistry
    catalog: SpawnerCatalog
    registries: Registries
    clock: Clock
    notices: WebhookSender | None = None


class Core:
    """Opens transactions, raises what they refuse, sends out what they recorded, and waits."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts
        self._cfg = parts.cfg
        self._store = parts.open_store()
        self._bus = parts.bus
        self._feed = Feed(self._store, self._bus, recheck_s=parts.cfg.poll_interval_ms / 1000)
        self._couriers = Couriers(self._store, self._feed)
        self._due_soon: Callable[[int], None] | None = None
        self._stopping = False
        self._in_doubt = asyncio.Event()
        self._store.on_commit(self._committed)

    @property
    def cfg(self) -> EngineCfg:
        """The settings that the engine was built with."""
        return self._cfg

    @property
    def signer(self) -> TokenSigner:
        """Signs and verifies tokens."""
        return self._parts.signer

    @property
    def layer_registry(self) -> LayerRegistry:
        """The layers that `link` finds."""
        return self._parts.layers

    @property
    def strict_hints(self) -> bool:
        """Whether unknown layer hints are refused."""
        return self._cfg.strict_hints

    @property
    def store(self) -> Store:
        """The store behind the doorway, for its life and health only."""
        return self._store

    @property
    def handle_mint(self) -> HandleMint:
        """Makes and digests handles."""
        return self._parts.mint

    @property
    def registries(self) -> Registries:
        """The live objects by id."""
        return self._parts.registries

    # The doorway

    async def with_state(self, op: str, fn: StateFn[R], *, policy: HoldPolicy | None = None) -> R:
        """Run a plain function of the state in one transaction; all of it happens or nothing.

        Rules of the seed: a coroutine function is refused (R3, TypeError); holding longer than `max_hold` is warned
        of or raises MaxHoldExceeded (R4). Raises LockBusy under `try_only`, LockBusyAfterRetry, StoreUnavailable.
        Cancelling the caller does not undo an operation that is under way.
        """
        if inspect.iscoroutinefunction(fn):
            raise TypeError(f"{op}: with_state takes a plain function, not a coroutine function (R3)")
        return await self._store.transact(op, fn, policy=policy)

    async def _do(self, op: str, fn: Callable[[State], R | Keep[EngineError]], *, bulk: bool = False) -> R:
        try:
            result = await self._store.transact(op, fn, bulk=bulk)
        except StoreUnavailable as error:
            if error.unsure:
                self._in_doubt.set()
            raise
        if isinstance(result, Keep):
            raise cast(Keep[EngineError], result).error
        return result

    async def _call(
        self, op: str, bearer: Bearer, verbs: Verb | Sequence[Verb], fn: CallerFn[R], *, bulk: bool = False
    ) -> R:
        """Check the credential and run `fn` as its caller, in one transaction. A worker's is a sign of life."""
        presented = self._present(bearer, verbs)
        unheard: Caller | None = None

        def run(state: State) -> R | Keep[EngineError]:
            nonlocal unheard
            caller = admit(state, presented)
            unheard = self._unheard(state, caller)
            return fn(state, caller)

        result = await self._do(op, run, bulk=bulk)
        if unheard is not None:
            await self._hear(unheard)
        return result

    async def _call_reach(
        self,
        op: str,
        bearer: Bearer,
        verb: Verb,
        fn: Callable[[State, Reach], R | Keep[EngineError]],
        *,
        attempt: int | None = None,
    ) -> R:
        """`_call` for a worker's own attempt, whose rows come with the credential."""
        presented = self._present(bearer, verb)
        return await self._do(op, lambda state: fn(state, reach(state, presented, attempt=attempt)))

    async def _read_reach(self, bearer: Bearer, verb: Verb, fn: Callable[[State, Reach], R]) -> R:
        """`_look` for a worker's own attempt."""
        presented = self._present(bearer, verb)
        if isinstance(presented, Claims) and presented.max_uses is not None:
            return await self._do("spend", lambda state: fn(state, reach(state, presented)))
        return await self._store.read(lambda state: fn(state, reach(state, presented, lock=False)))

    async def _look(self, bearer: Bearer, verbs: Verb | Sequence[Verb], fn: Callable[[State, Caller], R]) -> R:
        """The same for a read. A token with limited uses is spent, so that it needs a writing transaction."""
        presented = self._present(bearer, verbs)
        if isinstance(presented, Claims) and presented.max_uses is not None:
            return await self._do("spend", lambda state: fn(state, admit(state, presented)))

        def run(state: State) -> tuple[R, Caller | None]:
            caller = admit(state, presented)
            return fn(state, caller), self._unheard(state, caller)

        result, unheard = await self._store.read(run)
        if unheard is not None:
            await self._hear(unheard)
        return result

    def _unheard(self, state: State, caller: Caller) -> Caller | None:
        """The caller, when it is a worker whose sign of life is worth a write."""
        return caller if clocks.is_worth_it(self._cfg, caller.last_seen_at, caller.lease_ms, state.now) else None

    async def _hear(self, worker: Caller) -> None:
        """Renew the lease of a worker whose call is done, in a transaction of its own: it is of another task."""
        task_id, number = worker.task_id or "", worker.attempt or 0
        # What was asked for is done: a store that is away now, or an attempt that is gone, does not undo it.
        with suppress(Busy, NotFound):
            await self._do("renew", lambda state: attempts.heard(state, self._cfg, task_id, number))

    def _present(self, bearer: Bearer, verbs: Verb | Sequence[Verb]) -> Presented:
        """The checks that need no state: signature, expiry, role × verb (any of several)."""
        if isinstance(bearer, Handle):
            digest = Digest(self._parts.mint.digest(bearer.text))
            self._parts.gate.check(Role.WORKER, verbs)
            return digest
        claims = self._parts.signer.verify(bearer)
        self._parts.gate.check(claims.role, verbs, claims.scope)
        return claims

    # After a commit

    def _committed(self, effects: Effects) -> None:
        if effects.wakes:
            self._bus.publish(effects.wakes)
        if effects.events:
            self._feed.grew()
        if effects.due is not None and self._due_soon is not None:
            self._due_soon(effects.due)

    # Waiting

    async def _wait(
        self, topics: str | tuple[str, ...], probe: Callable[[], Awaitable[V | None]], hold_s: float
    ) -> V | None:
        """Until `await probe()` gives something else than None, or the hold ends: then None.

        No wake-up can be lost: subscribe first, then read, then wait; and read again now and then without a hint.
        Raises StoreUnavailable when the engine stops meanwhile.
        """
        found = await probe()
        if found is not None or hold_s <= 0:
            return found
        loop = asyncio.get_running_loop()
        end = loop.time() + hold_s
        recheck = self._cfg.poll_interval_ms / 1000
        subscription = self._bus.subscribe(*((topics,) if isinstance(topics, str) else topics))
        try:
            while True:
                subscription.clear()
                found = await probe()
                left = end - loop.time()
                if found is not None or left <= 0:
                    return found
                if self._stopping:
                    raise StoreUnavailable("the engine is stopping")
                await subscription.wait(min(left, recheck))
        finally:
            subscription.close()

    async def attempt_ended(self, task_id: str, number: int, epoch: int) -> None:
        """Return when the attempt is no longer live, or another server process has it."""

        async def probe() -> bool | None:
            row = await self._store.read(lambda state: ATTEMPTS.get(state.db, task_id, number))
            return True if row is None or not row.is_live or row.epoch != epoch else None

        while True:
            try:
                if await self._wait(f"attempt:{task_id}", probe, self._cfg.longest_hold_ms / 1000):
                    return
            except Busy as error:
                if self._stopping:
                    raise
                # The worker goes on while the store is away.
                _log.warning("attempt_waits_for_store", task_id=task_id, attempt=number, reason=str(error))
                await asyncio.sleep(STORE_PAUSE_S)

    def check_hold(self, hold: timedelta) -> float:
        """The hold in seconds. Raises InvalidRequest outside 0 … the longest hold."""
        seconds = hold.total_seconds()
        longest = self._cfg.longest_hold_ms / 1000
        if not 0 <= seconds <= longest:
            raise InvalidRequest(f"give 0 to {longest:g} seconds", "hold")
        return seconds
