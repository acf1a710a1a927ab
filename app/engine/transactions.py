"""Transactions of the engine: run one, run one for a credential's caller, read, and wait for a hint.

Whatever a transaction recorded for after its commit (topics to wake, events on the feed, the next instant at which
something falls due) is passed on here before its caller goes on.
"""

from __future__ import annotations

import asyncio
import inspect
from collections import Counter
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import timedelta
from math import inf
from typing import Any, TypeVar, cast

from app.bus.port import HintBus
from app.domain.access import Caller, Role, RoleVerbGate, Verb
from app.domain.doors import DOOR
from app.domain.errors import BadSignature, Busy, EngineError, InvalidRequest, NotFound, StoreUnavailable, TokenExpired
from app.domain.handles import HandleMint
from app.domain.limits import Limits
from app.domain.spans import SpanWriter
from app.domain.tokens import Bearer, Claims, Handle, TokenSigner
from app.domain.traces import TRACE
from app.domain.usage import UsageTotals
from app.engine.feed import Feed
from app.engine.ops import leases
from app.engine.ops.access import Digest, Presented, WorkerRows, authenticate, authenticate_worker
from app.engine.ops.rules import EngineCfg
from app.state.policies import HoldPolicy
from app.state.port import Store
from app.state.state import CommitThenRaise, Counted, Effects, State

R = TypeVar("R")
V = TypeVar("V")

StateFn = Callable[[State], R]
CallerFn = Callable[[State, Caller], R | CommitThenRaise[EngineError]]
WorkerFn = Callable[[State, WorkerRows], R | CommitThenRaise[EngineError]]


_AFTER_EXPIRY_S = 0.005
"""How much later than its credential's end a wait looks again: the clock counts whole milliseconds."""


@dataclass(slots=True)
class Expiry:
    """When the credential of a waiting call expires, as the call's probe saw it last."""

    left_s: float = inf

    def note(self, state: State, expires_at: int | None) -> None:
        """Note the instant; None for a credential that does not expire."""
        self.left_s = inf if expires_at is None else max(0.0, (expires_at - state.now) / 1000)


class Transactions:
    """Runs functions of the state, each in one transaction, and waits for what other transactions change.

    `in_doubt` is set after a commit whose outcome is unknown; recovery clears it.
    """

    def __init__(
        self,
        *,
        store: Store,
        bus: HintBus,
        feed: Feed,
        signer: TokenSigner,
        mint: HandleMint,
        gate: RoleVerbGate,
        cfg: EngineCfg,
        spans: SpanWriter | None = None,
    ) -> None:
        self._store = store
        self._bus = bus
        self._feed = feed
        self._signer = signer
        self._mint = mint
        self._gate = gate
        self._cfg = cfg
        self._spans = spans
        self._stopping = False
        self._on_due: Callable[[int], None] | None = None
        self._on_expired: Callable[[], Awaitable[bool]] | None = None
        self._on_unknown_key: Callable[[], Awaitable[bool]] | None = None
        self.in_doubt = asyncio.Event()
        self.counts: Counter[Counted] = Counter()
        """What this process has committed since its start, of the events that metrics count."""
        self.used = UsageTotals()
        """Usage that this process has committed since its start."""
        store.on_commit(self._committed)

    @property
    def gate(self) -> RoleVerbGate:
        """The table of roles and verbs."""
        return self._gate

    @property
    def names(self) -> dict[int, str | None]:
        """The names of namespaces that this process knows: see `Store.names`."""
        return self._store.names

    @property
    def limits(self) -> Limits:
        """The limits of the server."""
        return self._cfg.limits

    # Life

    def open(self) -> None:
        """Let waits begin."""
        self._stopping = False

    def close(self) -> None:
        """Let every wait end with StoreUnavailable as soon as it is woken."""
        self._stopping = True

    def on_due(self, listener: Callable[[int], None] | None) -> None:
        """Call `listener` with an instant whenever a commit made something fall due at it."""
        self._on_due = listener

    def on_expired(self, listener: Callable[[], Awaitable[bool]]) -> None:
        """Await `listener` before a handle is refused as expired; after True the call is tried once more."""
        self._on_expired = listener

    async def clocks_moved(self) -> bool:
        """Return whether clocks moved just now because of a time in which no heartbeat could be recorded."""
        return self._on_expired is not None and await self._on_expired()

    def on_unknown_key(self, listener: Callable[[], Awaitable[bool]]) -> None:
        """Await `listener` before a token is refused whose key is unknown; after True the call is tried once more."""
        self._on_unknown_key = listener

    async def keys_changed(self) -> bool:
        """Return whether other keys are in use now than before this call."""
        return self._on_unknown_key is not None and await self._on_unknown_key()

    def _committed(self, effects: Effects) -> None:
        if effects.wakes:
            self._bus.publish(effects.wakes)
        if effects.events:
            self._feed.committed(effects.first_event, effects.last_event)
        if effects.counts:
            self.counts.update(effects.counts)
        if effects.ended and self._spans is not None:
            self._spans(effects.ended)
        for who, usage in effects.used:
            self.used.add(who, usage)
        if effects.due is not None and self._on_due is not None:
            self._on_due(effects.due)

    # Writing

    async def with_state(self, op: str, fn: StateFn[R], *, policy: HoldPolicy | None = None) -> R:
        """Run a plain function of the state in one transaction; all of it happens or nothing.

        A coroutine function is refused with TypeError. Holding the state longer than `max_hold` is warned of, or
        raises MaxHoldExceeded. Raises LockBusy under `try_only`, LockBusyAfterRetry, StoreUnavailable. Cancelling the
        caller does not undo an operation that is under way.
        """
        if inspect.iscoroutinefunction(fn):
            raise TypeError(f"{op}: give with_state a plain function, not a coroutine function")
        return await self._store.transact(op, fn, policy=policy)

    async def run(self, op: str, fn: Callable[[State], R | CommitThenRaise[EngineError]], *, bulk: bool = False) -> R:
        """Run `fn` in one transaction; raise the error that it wants raised after its commit."""
        door, trace, writes_spans = DOOR.get(), TRACE.get(), self._cfg.writes_spans

        def run(state: State) -> R | CommitThenRaise[EngineError]:
            # The store may run it on another thread or in another task, which know nothing of the request.
            state.door, state.trace, state.writes_spans = door, trace, writes_spans
            return fn(state)

        try:
            result = await self._store.transact(op, run, bulk=bulk)
        except StoreUnavailable as error:
            if error.unsure:
                self.in_doubt.set()
            raise
        if isinstance(result, CommitThenRaise):
            raise cast(CommitThenRaise[EngineError], result).error
        return result

    async def call(
        self,
        op: str,
        bearer: Bearer,
        verbs: Verb | Sequence[Verb],
        fn: CallerFn[R],
        *,
        bulk: bool = False,
        lock: bool = False,
    ) -> R:
        """Check the credential and run `fn` for its caller, in one transaction; a worker's call is a heartbeat.

        `lock` locks a token's record at once, for an `fn` that would lock it first of all.
        """
        try:
            presented = self.authenticate(bearer, verbs)
        except BadSignature as error:
            presented = await self._authenticate_again(error, bearer, verbs)
        renewing: Caller | None = None

        def run(state: State) -> R | CommitThenRaise[EngineError]:
            nonlocal renewing
            caller = authenticate(state, presented, lock=lock)
            renewing = self._renewal_due(state, caller)
            return fn(state, caller)

        result = await self._repeated_after_gap(bearer, lambda: self.run(op, run, bulk=bulk))
        if renewing is not None:
            await self._record_heartbeat(renewing)
        return result

    async def call_worker(
        self, op: str, bearer: Bearer, verb: Verb, fn: WorkerFn[R], *, attempt: int | None = None
    ) -> R:
        """Check a worker's credential and run `fn` with the locked rows of its attempt, in one transaction."""
        try:
            presented = self.authenticate(bearer, verb)
        except BadSignature as error:
            presented = await self._authenticate_again(error, bearer, verb)

        def run(state: State) -> R | CommitThenRaise[EngineError]:
            return fn(state, authenticate_worker(state, presented, attempt=attempt))

        return await self._repeated_after_gap(bearer, lambda: self.run(op, run))

    def _repeated_after_gap(self, bearer: Bearer, call: Callable[[], Coroutine[Any, Any, R]]) -> Coroutine[Any, Any, R]:
        """Return the call, which is made once more if the handle expired during a gap (`engine.gaps`)."""
        return self._twice(call) if isinstance(bearer, Handle) else call()

    async def _twice(self, call: Callable[[], Coroutine[Any, Any, R]]) -> R:
        try:
            return await call()
        except TokenExpired:
            if not await self.clocks_moved():
                raise
        return await call()

    # Reading

    def read(self, fn: StateFn[R], *, bulk: bool = False) -> Coroutine[Any, Any, R]:
        """Run `fn` on a committed snapshot that includes everything acknowledged before this call."""
        return self._store.read(fn, bulk=bulk)

    async def read_as(self, bearer: Bearer, verbs: Verb | Sequence[Verb], fn: Callable[[State, Caller], R]) -> R:
        """Check the credential and read for its caller. A token with limited uses is spent, in a transaction."""
        try:
            presented = self.authenticate(bearer, verbs)
        except BadSignature as error:
            presented = await self._authenticate_again(error, bearer, verbs)
        if isinstance(presented, Claims) and presented.max_uses is not None:
            return await self.run("spend", lambda state: fn(state, authenticate(state, presented)))

        def run(state: State) -> tuple[R, Caller | None]:
            caller = authenticate(state, presented)
            return fn(state, caller), self._renewal_due(state, caller)

        result, renewing = await self._repeated_after_gap(bearer, lambda: self._store.read(run))
        if renewing is not None:
            await self._record_heartbeat(renewing)
        return result

    async def read_as_worker(self, bearer: Bearer, verb: Verb, fn: Callable[[State, WorkerRows], R]) -> R:
        """Check a worker's credential and read with the rows of its attempt; limited uses are spent."""
        try:
            presented = self.authenticate(bearer, verb)
        except BadSignature as error:
            presented = await self._authenticate_again(error, bearer, verb)
        if isinstance(presented, Claims) and presented.max_uses is not None:
            return await self.run("spend", lambda state: fn(state, authenticate_worker(state, presented)))

        def run(state: State) -> R:
            return fn(state, authenticate_worker(state, presented, lock=False))

        return await self._repeated_after_gap(bearer, lambda: self._store.read(run))

    # Credentials

    def authenticate(self, bearer: Bearer, verbs: Verb | Sequence[Verb]) -> Presented:
        """Check what needs no state: signature, expiry, and that the role may use one of the verbs.

        Raises BadSignature, TokenExpired, RoleViolation, HandleMistyped.
        """
        if isinstance(bearer, Handle):
            digest = Digest(self._mint.digest(bearer.text), verbs)
            self._gate.check(Role.WORKER, verbs)
            return digest
        claims = self._signer.verify(bearer)
        self._gate.check(claims.role, verbs, claims.scope, limited_uses=claims.max_uses is not None)
        return claims

    async def presented(self, bearer: Bearer, verbs: Verb | Sequence[Verb]) -> Presented:
        """Return what `authenticate` does, also for a token whose key another node has just made."""
        try:
            return self.authenticate(bearer, verbs)
        except BadSignature as error:
            return await self._authenticate_again(error, bearer, verbs)

    async def _authenticate_again(self, error: BadSignature, bearer: Bearer, verbs: Verb | Sequence[Verb]) -> Presented:
        """Authenticate once more if the token's key may have become known; otherwise raise its error."""
        if not error.unknown_key or not await self.keys_changed():
            raise error
        return self.authenticate(bearer, verbs)

    def may_be_worker(self, bearer: Bearer) -> bool:
        """Return whether a credential is a worker's, or invalid as far as this node knows: its call finds that out."""
        try:
            return isinstance(bearer, Handle) or self._signer.verify(bearer).role is Role.WORKER
        except (BadSignature, TokenExpired):
            return True

    def _renewal_due(self, state: State, caller: Caller) -> Caller | None:
        """Return the caller when it is a worker whose lease is due for renewal."""
        if caller.last_seen_at is None:
            return None
        due = leases.renewal_due(self._cfg, caller.last_seen_at, caller.lease_ms, state.now)
        return caller if due else None

    async def _record_heartbeat(self, worker: Caller) -> None:
        """Renew the lease of a worker whose call is done, in a transaction of its own: it locks another task."""
        task_id, number = worker.task_id or "", worker.attempt or 0
        # The call is done: a store that is away now, or an attempt that is gone, does not undo it.
        with suppress(Busy, NotFound):
            await self.run("renew", lambda state: leases.record_heartbeat_of(state, self._cfg, task_id, number))

    # Waiting

    async def wait(
        self,
        topics: tuple[str, ...] | Callable[[], tuple[str, ...]],
        probe: Callable[[], Awaitable[V | None]],
        hold_s: float,
        expiry: Expiry | None = None,
    ) -> V | None:
        """Await `probe()` after each hint on one of the topics until it returns a value; None when the hold ends first.

        `topics` may be a function, which is called after the first probe.

        No wake-up is lost: it subscribes, then reads, then waits, and reads again now and then without a hint, and when
        the credential that the probe noted in `expiry` has expired, which the probe then refuses.
        Raises StoreUnavailable when the engine stops meanwhile. Cancelling is safe.
        """
        found = await probe()
        if found is not None or hold_s <= 0:
            return found
        loop = asyncio.get_running_loop()
        end = loop.time() + hold_s
        poll_interval_s = self._cfg.poll_interval_ms / 1000
        subscription = self._bus.subscribe(*(topics() if callable(topics) else topics))
        try:
            while True:
                subscription.clear()
                found = await probe()
                left = end - loop.time()
                if found is not None or left <= 0:
                    return found
                if self._stopping:
                    raise StoreUnavailable("the engine is stopping")
                valid_s = inf if expiry is None else expiry.left_s + _AFTER_EXPIRY_S
                await subscription.wait(min(left, poll_interval_s, valid_s))
        finally:
            subscription.close()

    def hold_seconds(self, hold: timedelta) -> float:
        """Return the hold in seconds. Raises InvalidRequest outside 0 … the longest hold."""
        seconds = hold.total_seconds()
        longest = self._cfg.longest_hold_ms / 1000
        if not 0 <= seconds <= longest:
            raise InvalidRequest(f"give 0 to {longest:g} seconds", "hold")
        return seconds
