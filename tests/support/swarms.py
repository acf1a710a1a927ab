"""A whole engine over a real store, with a clock that tests move and one caller of each role."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import timedelta
from typing import Any

import pytest

from app.bus.local import LocalBus
from app.bus.port import HintBus
from app.domain.access import Role, RoleVerbGate
from app.domain.attempts import Attempt
from app.domain.audit import AuditSeal
from app.domain.clock import Clock
from app.domain.delegation import WorkerRules
from app.domain.events import Event, Lagged
from app.domain.handles import HandleMint
from app.domain.ids import IdSource
from app.domain.json import Json
from app.domain.questions import QuestionRules
from app.domain.tasks import Status, Task, TaskSpec
from app.domain.tokens import CapToken, Handle, SigningKey, TokenSigner
from app.engine.engine import Engine
from app.engine.gaps import GapMonitor, MachineClocks
from app.engine.ops.rules import EngineCfg
from app.engine.parts import Parts
from app.engine.timers import Timers
from app.spawning.adapters.in_process import FunctionRegistry
from app.spawning.backends.registry import Registries
from app.spawning.catalog import shipped_catalog
from app.spawning.layers import shipped_layers
from app.spawning.ports import Layer
from app.state import schema
from app.state.opening import open_store
from app.state.policies import HoldPolicy
from app.state.state import State
from app.state.tables import ATTEMPTS, TASKS

PATIENT = HoldPolicy(max_hold_ms=60_000, max_retry=100)
"""A store that does not mind a slow machine."""

OPEN = WorkerRules(functions=frozenset({"identity", "scripted"}))
"""Workers may dispatch to the functions of tests."""

LENIENT = QuestionRules(worker_default=True)
"""Workers may ask what silence answers."""

ROOT_KEY = "shk_" + "root0" * 8
DAY = timedelta(days=1)
YEAR = timedelta(days=365)
EXTERNAL: dict[str, Any] = {"kind": "external"}


def still_clocks() -> tuple[int, int]:
    """Return the same two instants always."""
    return 0, 0


class SharedIds(IdSource):
    """Ids that grow over all connections of a store, for a clock that stands still."""

    def __init__(self, clock: Clock) -> None:
        super().__init__(clock=clock)
        self._lock = threading.Lock()

    def new(self, prefix: str) -> str:
        """Return a fresh id; any thread may ask."""
        with self._lock:
            return super().new(prefix)


@dataclass(slots=True, kw_only=True)
class Plan:
    """What an engine is made of: the same plan on the same store makes the engine that follows a dead one."""

    store_url: str
    clock: Clock
    cfg: EngineCfg = field(
        default_factory=lambda: EngineCfg(hold=PATIENT, stop_grace_ms=500, workers=OPEN, questions=LENIENT)
    )
    functions: FunctionRegistry = field(default_factory=FunctionRegistry)
    layers: Sequence[Layer] = ()
    gate: RoleVerbGate = field(default_factory=RoleVerbGate)
    bus: Callable[[], HintBus] = LocalBus
    long_hold_s: float = 3600.0
    length: int = 27
    machine_clocks: MachineClocks = still_clocks
    """By default no gap is ever noticed: neither that the test's machine is slow, nor that its clock jumps."""

    def parts(self) -> Parts:
        """New parts with identical keys."""
        registries = Registries()
        url, clock, policy, ids = self.store_url, self.clock, self.cfg.hold, SharedIds(self.clock)
        seal = AuditSeal([SigningKey("test", b"a" * 32)])
        return Parts(
            cfg=self.cfg,
            open_store=lambda: open_store(url, clock=clock, ids=lambda: ids, policy=policy, seal=seal),
            bus=self.bus(),
            signer=TokenSigner([SigningKey("test", b"s" * 32)], clock=clock),
            mint=HandleMint(b"h" * 32, length=self.length),
            seal=seal,
            gate=self.gate,
            layers=shipped_layers(
                hooks=registries.hooks,
                operators=registries.operators,
                long_hold_s=self.long_hold_s,
                limits=self.cfg.limits,
                extra=self.layers,
            ),
            catalog=shipped_catalog(operators=registries.operators, functions=self.functions),
            registries=registries,
            clock=clock,
            machine_clocks=self.machine_clocks,
        )

    def engine(self) -> Engine:
        """An engine that is not started. Its timers do not run: tests carry out what is due."""
        return StillEngine(self.parts())


class StillTimers(Timers):
    """Timers that do nothing by themselves: the test calls `carry_out_due`."""

    async def run(self) -> None:
        """Wait to be cancelled."""
        await asyncio.get_running_loop().create_future()


class StillGaps(GapMonitor):
    """A monitor that looks for gaps only when the engine asks it to."""

    async def begin(self) -> None:
        """Take the time before for a gap when the test's clocks say how long it was."""
        if self._clocks is not still_clocks:
            await super().begin()

    async def run(self) -> None:
        """Wait to be cancelled."""
        await asyncio.get_running_loop().create_future()


class StillEngine(Engine):
    """An engine whose time passes only when a test says so."""

    def __init__(self, parts: Parts) -> None:
        super().__init__(parts)
        self.gaps.__class__ = StillGaps
        self.timers = StillTimers(
            self.transactions,
            gaps=self.gaps,
            dispatcher=self.dispatcher,
            layers=self.layer_registry,
            clock=parts.clock,
        )


@dataclass(frozen=True, slots=True)
class Work:
    """An attempt in a worker's hands."""

    task_id: str
    attempt: int
    handle: Handle


@dataclass(slots=True)
class Swarm:
    """An engine that runs, and callers attached to it."""

    engine: Engine
    plan: Plan
    operator: CapToken
    senior: CapToken
    observer: CapToken

    @classmethod
    async def over(cls, engine: Engine, plan: Plan) -> Swarm:
        """Attach one of each role."""
        tokens = [await engine.attach(role.value, role, YEAR) for role in (Role.OPERATOR, Role.SENIOR, Role.OBSERVER)]
        return cls(engine, plan, *tokens)

    @property
    def clock(self) -> Any:
        """The clock that the plan was made with."""
        return self.plan.clock

    # Making things happen

    async def root_key(self) -> str:
        """The root key's text."""
        await self.engine.keys.ensure_root(ROOT_KEY)
        return ROOT_KEY

    async def task(self, agent: str = "coder", directive: str = "Do it.", **spec: Any) -> str:
        """A pending task."""
        return await self.engine.start_task(self.operator, TaskSpec(agent=agent, initial_directive=directive, **spec))

    async def external(self, task_id: str | None = None, **options: Any) -> Work:
        """A running attempt whose worker is the test itself."""
        task_id = task_id or await self.task()
        dispatched, _ = await self.engine.dispatcher.dispatch(self.operator, task_id, EXTERNAL, **options)
        assert dispatched.handle is not None
        return Work(task_id, dispatched.attempt, Handle(dispatched.handle))

    async def submit(self, work: Work, value: Any = "done", *, ok: bool = True) -> None:
        """The worker's Final."""
        await self.engine.workers.submit(work.handle, Json.of(value), ok=ok)

    async def worker_token(self, work: Work) -> CapToken:
        """The attempt's own token."""
        return await self.engine.credentials.attempt_token(work.task_id, work.attempt)

    async def child(self, parent: Work, **spec: Any) -> str:
        """A pending task under the parent's."""
        wanted = {"agent": "child", "initial_directive": "Help."} | spec
        return await self.engine.start_task(parent.handle, TaskSpec(**wanted))  # pyright: ignore[reportArgumentType] - workers start tasks with handles too

    async def external_child(self, parent: Work) -> Work:
        """A running attempt of a child task, dispatched by the parent's worker."""
        dispatched, _ = await self.engine.dispatcher.dispatch(parent.handle, await self.child(parent), EXTERNAL)
        assert dispatched.handle is not None
        return Work(dispatched.task_id, dispatched.attempt, Handle(dispatched.handle))

    async def pass_time(self, seconds: float) -> None:
        """Let time pass and carry out what is due then."""
        self.clock.advance(seconds)
        assert await self.engine.timers.carry_out_due() == 0

    # Looking

    async def row(self, task_id: str) -> Task:
        """The task's row."""
        return await self.engine.tasks.find(task_id)

    async def status(self, task_id: str) -> Status:
        """Where the task stands."""
        return (await self.row(task_id)).status

    async def attempt(self, task_id: str, number: int | None = None) -> Attempt:
        """An attempt's row, the latest when none is named."""

        def run(state: State) -> Attempt:
            task = TASKS.get(state.db, task_id)
            assert task is not None
            row = ATTEMPTS.get(state.db, task_id, number or task.attempt)
            assert row is not None
            return row

        return await self.engine.store.read(run)

    async def events(self, task_id: str | None = None, *, after: int = 0) -> list[Event]:
        """The feed, or a task's part of it."""
        found: list[Event] = []
        while page := await self.engine.event_tx.page(found[-1].cursor if found else after):
            found += page
        return [event for event in found if task_id is None or event.task_id == task_id]

    async def kinds(self, task_id: str | None = None, *, after: int = 0) -> list[str]:
        """What happened, by name."""
        return [str(event.kind) for event in await self.events(task_id, after=after)]

    async def dump(self) -> dict[str, list[tuple[Any, ...]]]:
        """Every row of every table, but those of nodes, whose heartbeats go on."""

        def run(state: State) -> dict[str, list[tuple[Any, ...]]]:
            return {
                name: sorted(state.db.query(f"SELECT * FROM {name}", ()), key=repr)  # noqa: S608 - names of the schema
                for name in schema.metadata.tables
                if name != schema.nodes.name
            }

        return await self.engine.store.read(run)


async def refused(error: type[BaseException], call: Awaitable[object]) -> Any:
    """Expect this very error and return it."""
    with pytest.raises(error) as raised:
        await call
    assert raised.type is error, raised.value
    return raised.value


async def unchanged(swarm: Swarm, error: type[BaseException], call: Awaitable[object]) -> Any:
    """Expect this very error, and that it left every row of every table as it was, the feed included."""
    before = await swarm.dump()
    raised = await refused(error, call)
    assert await swarm.dump() == before
    return raised


async def seen(stream: Any, count: int) -> list[Event | Lagged]:
    """The next `count` items of a stream."""
    return [await anext(stream) for _ in range(count)]


def with_cfg(plan: Plan, **changes: Any) -> Plan:
    """The plan with other settings."""
    return replace(plan, cfg=replace(plan.cfg, **changes))


def values(event: Event) -> Mapping[str, Any]:
    """The fields of an event's kind."""
    return event.data.value if event.data is not None else {}


async def crash(engine: Engine) -> None:
    """End an engine as a kill would: from one moment on it writes nothing any more, and its workers are gone."""
    await engine.store.close()
    await engine.stop()
