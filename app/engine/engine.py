"""The Engine: one per process. It builds the parts, starts and stops them.

Each concern is a class of its own (`engine.tasks`, `engine.workers`, `engine.questions`, …), built here from what it
needs. The flat methods below are for programs that embed an engine; each forwards to one of the parts.
"""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Mapping, Sequence
from dataclasses import replace
from datetime import timedelta
from types import TracebackType
from typing import Any, TypeVar

import structlog

from app.bus.local import LocalBus
from app.domain.access import Role, RoleVerbGate, Verb
from app.domain.attempts import DispatchOutcome, WorkerPayload
from app.domain.json import Json
from app.domain.namespaces import DEFAULT
from app.domain.outputs import Output, OutputEvent
from app.domain.questions import Ask
from app.domain.sessions import OperatorKind, SessionOptions
from app.domain.tasks import TaskSpec, TaskState
from app.domain.tokens import Bearer, CapToken, TokenSigner
from app.engine.api_keys import ApiKeys
from app.engine.attempt_runner import RunnerParts
from app.engine.attempts import Attempts
from app.engine.batches import Batches
from app.engine.couriers import Couriers
from app.engine.credentials import Credentials
from app.engine.dispatcher import Dispatcher, cancel_and_wait
from app.engine.feed import EventStream, Feed
from app.engine.gaps import GapMonitor
from app.engine.indexing import Indexing
from app.engine.large_reads import LargeReads
from app.engine.links import AnswerLinks
from app.engine.listening import Listeners
from app.engine.namespaces import Namespaces
from app.engine.nodes import Nodes
from app.engine.ops import audit
from app.engine.ops.rules import EngineCfg
from app.engine.parts import Parts, default_parts
from app.engine.questions import Questions
from app.engine.recovery import Recovery
from app.engine.refusals import Refusals
from app.engine.registrations import Registrations
from app.engine.reports import Reports
from app.engine.resources import Resources
from app.engine.selections import Selections
from app.engine.sessions import OperatorInfo, Sessions
from app.engine.skills import Skills
from app.engine.switch import DispatchSwitch
from app.engine.tasks import Tasks
from app.engine.timers import Timers
from app.engine.transactions import StateFn, Transactions
from app.engine.webhooks import Webhooks
from app.engine.workers import Workers
from app.spawning.backends.protocols import OperatorBackend, SeniorBridge, SpawnHook
from app.spawning.backends.registry import Registration, Registries, bind
from app.spawning.ports import LayerRegistry, SpawnerAdapter
from app.spawning.stack import SpawnerStack
from app.state.policies import HoldPolicy

R = TypeVar("R")

_log = structlog.get_logger(__name__)


class Engine:
    """Tasks, attempts, sessions and questions, kept in a store; the only writer of that store.

    Belongs to one event loop. Use it as an async context manager, or call `start` and `stop`. Nothing is acknowledged
    before it is committed; a stopped or killed engine goes on from its store.
    """

    def __init__(self, parts: Parts) -> None:
        cfg, bus, mint, signer, clock = parts.cfg, parts.bus, parts.mint, parts.signer, parts.clock
        self.parts = parts
        self._loops: set[asyncio.Task[None]] = set()
        self._running = False
        self._layers = layers = parts.layers.mapped(lambda layer: bind(layer, parts.registries))
        catalog = parts.catalog.bound_to(parts.registries)
        self.registries = parts.registries
        self.store = store = parts.open_store()
        self.feed = feed = Feed(store, bus, poll_interval_s=cfg.poll_interval_ms / 1000)
        self.couriers = Couriers(store, self.feed, parts.registries.bridges, cfg.limits)
        self.transactions = transactions = Transactions(
            store=store, bus=bus, feed=self.feed, signer=signer, mint=mint, gate=parts.gate, cfg=cfg, spans=parts.spans
        )
        self.nodes = nodes = Nodes(transactions, store=store, bus=bus, clock=clock, cfg=cfg)
        self.gaps = GapMonitor(transactions, store=store, peers=nodes, clocks=parts.machine_clocks)
        nodes.recorded_for_ms = lambda: self.gaps.recorded_for_ms
        self.registrations = Registrations(transactions, registries=parts.registries, bus=bus, node=nodes.current)
        self.batches = batches = Batches(transactions)
        large = LargeReads(transactions)
        self.keys = keys = ApiKeys(transactions, batches=batches, mint=mint, gate=parts.gate)
        self.credentials = Credentials(transactions, batches=batches, signer=signer, bus=bus, clock=clock, cfg=cfg)
        self.refusals = Refusals(transactions, clock=clock)
        self.namespaces = namespaces = Namespaces(transactions)
        self.sessions = Sessions(
            transactions,
            keys=keys,
            namespaces=self.namespaces,
            signer=signer,
            registries=parts.registries,
            couriers=self.couriers,
            gaps=self.gaps,
            cfg=cfg,
        )
        self.tasks = Tasks(transactions, batches=batches, large=large, nodes=self.nodes.membership, cfg=cfg)
        self.attempts = Attempts(transactions, cfg)
        self.listeners = listeners = Listeners(transactions, clock=clock, node=nodes.current)
        self.workers = Workers(transactions, keys=keys, mint=mint, layers=layers, listeners=listeners, cfg=cfg)
        self.resources = Resources(transactions, large)
        self.questions = Questions(transactions, layers=layers, cfg=cfg)
        self.links = AnswerLinks(transactions, layers=layers, mint=mint, cfg=cfg)
        self.switch = DispatchSwitch(transactions, keys=keys)
        self.reports = Reports(
            transactions, registries=parts.registries, catalog=catalog, layers=layers, listeners=listeners, feed=feed
        )
        self.webhooks = Webhooks(
            transactions, keys=keys, namespaces=namespaces, mint=mint, signer=signer, sender=parts.webhook_sender
        )
        runner_parts = RunnerParts(
            transactions=transactions, layers=layers, mint=mint, sign=self.credentials.sign, cfg=cfg
        )
        self.dispatcher = Dispatcher(runner_parts, catalog=catalog, bus=bus, node=nodes.current)
        self.skills = Skills(transactions, keys=keys, dispatcher=self.dispatcher, cfg=cfg)
        self.selections = Selections(transactions, dispatcher=self.dispatcher, cfg=cfg)
        self.indexing = Indexing(transactions, bus=bus, clock=clock, poll_interval_s=cfg.poll_interval_ms / 1000)
        self.recovery = Recovery(transactions, dispatcher=self.dispatcher, nodes=nodes, bus=bus, cfg=cfg)
        self.timers = Timers(transactions, gaps=self.gaps, dispatcher=self.dispatcher, layers=layers, clock=clock)

    @classmethod
    def new(cls, cfg: EngineCfg | None = None) -> Engine:
        """Build an engine in memory with the shipped spawners and layers and random keys."""
        return cls(default_parts(cfg or EngineCfg()))

    @classmethod
    def new_with_layers(cls, cfg: EngineCfg, layer_registry: LayerRegistry) -> Engine:
        """Build an engine in memory with these layers, the shipped spawners and random keys.

        The layers may be another engine's: here they find what is registered with this one.
        """
        return cls(replace(default_parts(cfg), layers=layer_registry))

    def with_gate(self, gate: RoleVerbGate) -> Engine:
        """Build an engine with another gate, registries of its own, and its store opened anew; not started.

        A store in memory begins empty.
        """
        return type(self)(replace(self.parts, gate=gate, bus=LocalBus(), registries=Registries()))

    # Life

    async def start(self) -> None:
        """Open the store, take over what a dead server process left, and start the background loops. Idempotent."""
        if self._running:
            return
        await self.store.open()
        try:
            await self.parts.bus.open()
            await self.feed.open()
            self._running = True
            self.transactions.open()
            if await self.transactions.run("seal_audit_log", audit.seal_before):
                _log.info("audit_log_sealed")
            await self.nodes.join()
            self._own(self.nodes.run(self.dispatcher.end_running))
            await self.gaps.begin()
            recovered = await self.recovery.recover()
            for part in (self.gaps, self.timers, self.recovery, self.batches, self.registrations, self.refusals):
                self._own(part.run())
            deliveries = self.webhooks.deliveries(
                store=self.store,
                events=self.feed,
                bus=self.parts.bus,
                clock=self.parts.clock,
                node=self.nodes.current,
                cfg=self.cfg,
            )
            if deliveries is not None:
                self._own(deliveries.run())
            self.couriers.start()
        except BaseException:
            await self.stop()
            raise
        _log.info("engine_started", node=self.nodes.own_id, recovered=recovered)

    async def stop(self) -> None:
        """Stop loops and running attempts, wake all waiters, close the store. Idempotent.

        Workers that outlive the server go on.
        """
        self._running = False
        self.transactions.close()
        await self.feed.close()
        await self.couriers.stop()
        await cancel_and_wait(self._loops)
        await self.dispatcher.stop()
        await self.refusals.stop()
        await self.nodes.leave()
        await self.parts.bus.close()
        await self.workers.stop()
        await self.parts.catalog.aclose()
        if self.parts.webhook_sender is not None:
            await self.parts.webhook_sender.aclose()
        await self.store.close()

    async def __aenter__(self) -> Engine:
        await self.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.stop()

    async def check(self) -> None:
        """Raise StoreUnavailable unless the store can be read and written now."""
        await self.store.check()

    def start_detach_loop(self) -> asyncio.Task[None]:
        """Detach sessions that miss `heartbeat_miss_threshold` intervals, from now on; their tasks stay.

        Returns the running task, for callers who want to cancel it; `stop` cancels it too.
        """
        return self._own(self.sessions.keep_detaching())

    def _own(self, loop: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        task = asyncio.get_running_loop().create_task(loop)
        self._loops.add(task)
        task.add_done_callback(self._loops.discard)
        return task

    @property
    def cfg(self) -> EngineCfg:
        """The settings that the engine was built with."""
        return self.parts.cfg

    @property
    def signer(self) -> TokenSigner:
        """Signs and verifies tokens."""
        return self.parts.signer

    @property
    def layer_registry(self) -> LayerRegistry:
        """The layers that `link` finds, bound to what is registered with this engine."""
        return self._layers

    @property
    def strict_hints(self) -> bool:
        """Whether `link` refuses unknown layer hints."""
        return self.cfg.strict_hints

    # Events

    def subscribe(
        self, *, after: int | None = None, kinds: frozenset[str] | None = None, task_id: str | None = None
    ) -> EventStream:
        """Follow the feed from a cursor, or live from now. Close the stream when done.

        A slow reader receives `Lagged` and reads on from the store; it never slows the engine.
        """
        return self.feed.follow(after=after, kinds=kinds, task_id=task_id)

    @property
    def event_tx(self) -> Feed:
        """The feed itself: `follow`, `head` and `page`. Prefer `subscribe`."""
        return self.feed

    async def with_state(self, op: str, fn: StateFn[R], *, policy: HoldPolicy | None = None) -> R:
        """Run a plain function of the state in one transaction; see `Transactions.with_state`."""
        return await self.transactions.with_state(op, fn, policy=policy)

    # Credentials

    async def verify_token(self, token: CapToken, verb: Verb) -> None:
        """Check signature, expiry, role and verb, and record; spends one use. See `Credentials.authorize`."""
        await self.credentials.authorize(token, verb)

    async def verify_token_for_task(self, token: CapToken, verb: Verb, task_id: str) -> None:
        """Check as `verify_token` does, then ownership for workers. Raises TokenTaskMismatch, TaskNotFound as well."""
        await self.credentials.authorize(token, verb, task_id)

    async def task_id_from_token(self, token: CapToken) -> str:
        """Return the id of the task that a worker's token is bound to. Raises TokenTaskMismatch."""
        return await self.credentials.task_id_from_token(token)

    async def task_id_from_handle(self, handle: str) -> str:
        """Return the id of the task that a handle is bound to. Raises TokenNotFound and more."""
        return await self.credentials.task_id_from_handle(handle)

    # Sessions

    async def attach(self, operator_id: str, role: Role, ttl: timedelta, *, namespace: str = DEFAULT) -> CapToken:
        """Attach a session without bridge, hook or backend; return its token. Raises InvalidRequest."""
        return await self.sessions.attach(operator_id, role, ttl, SessionOptions(), namespace=namespace)

    async def attach_with(
        self, operator_id: str, role: Role, ttl: timedelta, info: OperatorInfo, *, namespace: str = DEFAULT
    ) -> CapToken:
        """Attach a session with inline objects. Raises InvalidRequest."""
        return await self.sessions.attach_inline(operator_id, role, ttl, info, namespace=namespace)

    async def attach_with_ids(
        self,
        operator_id: str,
        role: Role,
        ttl: timedelta,
        kind: OperatorKind | None = None,
        bridge_id: str | None = None,
        hook_id: str | None = None,
        operator_backend_id: str | None = None,
        operator_kind_overrides: Mapping[str, OperatorKind] | None = None,
        bp_agent_kinds: Mapping[str, OperatorKind] | None = None,
        bp_global_kind: OperatorKind | None = None,
        *,
        namespace: str = DEFAULT,
    ) -> CapToken:
        """Attach a session with ids of objects that are registered now or later; a restart can rebuild it."""
        options = SessionOptions(
            kind=kind,
            bridge_id=bridge_id,
            hook_id=hook_id,
            operator_backend_id=operator_backend_id,
            operator_kind_overrides=operator_kind_overrides,
            bp_agent_kinds=bp_agent_kinds,
            bp_global_kind=bp_global_kind,
        )
        return await self.sessions.attach(operator_id, role, ttl, options, namespace=namespace)

    async def detach(self, token: CapToken) -> None:
        """Mark the token's session detached; its tasks stay. Raises SessionNotFound."""
        await self.sessions.detach(token)

    async def heartbeat(self, token: CapToken) -> None:
        """Record a heartbeat of the token's session. Raises SessionNotFound."""
        await self.sessions.heartbeat(token)

    # Registered objects: the last registration wins; a late unregister never removes a newer one.

    async def register_senior_bridge(
        self, id: str, bridge: SeniorBridge, *, namespace: str = DEFAULT
    ) -> Registration[SeniorBridge]:
        """Put a bridge under an id; it is shown every question that is addressed to it, or to any bridge."""
        return self.couriers.register(id, bridge, namespace=await self.namespaces.use(namespace))

    async def register_spawn_hook(
        self, id: str, hook: SpawnHook, *, namespace: str = DEFAULT
    ) -> Registration[SpawnHook]:
        """Put a spawn hook under an id; attempts that wait for it go on."""
        return self.registries.hooks.register(id, hook, namespace=await self.namespaces.use(namespace))

    async def register_operator(
        self, id: str, operator: OperatorBackend, *, namespace: str = DEFAULT
    ) -> Registration[OperatorBackend]:
        """Put an operator backend under an id; attempts that wait for it go on."""
        return self.registries.operators.register(id, operator, namespace=await self.namespaces.use(namespace))

    async def unregister_senior_bridge(
        self, id: str, registration: Registration[SeniorBridge] | None = None, *, namespace: str = DEFAULT
    ) -> None:
        """Remove a bridge; with its registration, only if that is still the current one. A missing id is a no-op."""
        self.couriers.unregister(id, registration, namespace=await self.namespaces.use(namespace))

    async def unregister_spawn_hook(
        self, id: str, registration: Registration[SpawnHook] | None = None, *, namespace: str = DEFAULT
    ) -> None:
        """Remove a spawn hook; with its registration, only if that is still the current one."""
        self.registries.hooks.unregister(id, registration, namespace=await self.namespaces.use(namespace))

    async def unregister_operator(
        self, id: str, registration: Registration[OperatorBackend] | None = None, *, namespace: str = DEFAULT
    ) -> None:
        """Remove an operator backend; with its registration, only if that is still the current one."""
        self.registries.operators.unregister(id, registration, namespace=await self.namespaces.use(namespace))

    async def list_senior_bridge_ids(self) -> list[str]:
        """Return the ids of registered senior bridges."""
        return self.registries.bridges.ids()

    async def list_spawn_hook_ids(self) -> list[str]:
        """Return the ids of registered spawn hooks."""
        return self.registries.hooks.ids()

    async def list_operator_ids(self) -> list[str]:
        """Return the ids of registered operator backends."""
        return self.registries.operators.ids()

    # Tasks

    async def start_task(self, token: CapToken, spec: TaskSpec) -> str:
        """Create a pending task and return its id. Raises SpawnDepthExceeded, InvalidRequest."""
        return (await self.tasks.start(token, spec)).task.id

    async def read_task_state(self, bearer: Bearer, task_id: str) -> TaskState:
        """Return the task. Raises TaskNotFound, TokenTaskMismatch."""
        return await self.tasks.read(bearer, task_id)

    async def cancel_task(self, bearer: Bearer, task_id: str, *, reason: str | None = None) -> TaskState:
        """Cancel the task and its descendants. Raises InvalidTransition, TaskNotFound, TokenTaskMismatch."""
        return await self.tasks.cancel(bearer, task_id, reason=reason)

    async def poll_task(
        self, bearer: Bearer, task_id: str, hold: timedelta | None = None, *, since: int | None = None
    ) -> TaskState:
        """Wait until the task is done or suspended (or newer than version `since`). Raises PollTimeout."""
        return await self.tasks.poll(bearer, task_id, hold, since=since)

    async def post_result(self, bearer: Bearer, task_id: str, result: Any) -> None:
        """Record an interim result; the status stays. Raises InvalidTransition once the result is final."""
        await self.tasks.post_result(bearer, task_id, _json(result))

    async def task_attempt(self, task_id: str) -> int:
        """Return the number of the task's latest attempt, 0 before the first dispatch. Raises TaskNotFound."""
        return (await self.tasks.find(task_id)).attempt

    async def dispatch_attempt_with(
        self,
        bearer: Bearer,
        task_id: str,
        spawner: SpawnerAdapter | SpawnerStack,
        *,
        wait: timedelta | None = None,
        lease: timedelta | None = None,
    ) -> DispatchOutcome:
        """Dispatch one attempt and wait for its outcome; see `Dispatcher.dispatch_with`."""
        return await self.dispatcher.dispatch_with(bearer, task_id, spawner, wait=wait, lease=lease)

    # Workers

    async def fetch_prompt(self, bearer: Bearer, task_id: str) -> str:
        """Return the prompt of the credential's attempt. Raises TokenTaskMismatch, NotStarted, and conflicts."""
        return (await self.workers.payload(bearer, task_id=task_id)).prompt

    async def fetch_worker_payload(self, bearer: Bearer, task_id: str) -> WorkerPayload:
        """Return prompt, system prompt, agent, attempt and answers; see `Workers.payload`."""
        return await self.workers.payload(bearer, task_id=task_id)

    async def fetch_worker_payload_trusted(self, task_id: str) -> WorkerPayload:
        """Return the payload of the latest attempt, for code that has resolved a handle."""
        return await self.workers.payload_trusted(task_id)

    async def submit_output(self, bearer: Bearer, task_id: str, attempt: int, event: OutputEvent) -> None:
        """Append an output event to the caller's attempt; a final one ends it. See `Workers.output`."""
        await self.workers.output(bearer, task_id, attempt, event)

    async def submit_worker_result_trusted(self, task_id: str, attempt: int, value: Any, ok: bool) -> None:
        """Submit the final result of an attempt, for code that has resolved a handle to it."""
        await self.workers.submit_trusted(task_id, attempt, _json(value), ok=ok)

    async def bake_worker_system_prompt(self, task_id: str, attempt: int, system: str | None) -> None:
        """Set the system prompt that the attempt's worker fetches. Raises TaskNotFound, AttemptNotFound."""
        await self.workers.bake_system_prompt(task_id, attempt, system)

    async def output_tail(self, task_id: str, attempt: int) -> Sequence[Output]:
        """Return all output events of an attempt, in order; none for an attempt that does not exist."""
        return await self.attempts.tail(task_id, attempt)

    # Resources

    async def set_resource(self, key: str, value: Any, *, namespace: str = DEFAULT) -> None:
        """Store a named value. Raises InvalidRequest."""
        await self.resources.put_trusted(key, _json(value), await self.namespaces.use(namespace))

    async def fetch_data(self, bearer: Bearer, key: str) -> Any:
        """Return a named value. Raises ResourceNotFound."""
        return (await self.resources.read(bearer, key))[0].value

    # Questions

    async def query_senior(self, bearer: Bearer, task_id: str, question: Any) -> str:
        """Ask a question, suspend the task, and return the question's key at once. See `Questions.ask`."""
        return (await self.questions.ask(bearer, Ask(question=_json(question)), task_id=task_id)).key

    async def resume(self, key: str, answer: Any, *, by: str = "engine") -> None:
        """Answer a question. Raises ResumeKeyNotFound, AlreadyAnswered, QuestionClosed, AnswerInvalid."""
        await self.questions.answer_trusted(key, _json(answer), by=by)

    async def await_resume(self, key: str, timeout: timedelta) -> Any:
        """Wait for the answer. Raises PollTimeout, ResumeKeyNotFound, QuestionClosed. Cancelling is safe."""
        return (await self.questions.await_answer(key, timeout)).value


def _json(value: Any) -> Json:
    return value if isinstance(value, Json) else Json.of(value)
