"""The parts of an engine, each built by itself over a store in memory."""

import os
from dataclasses import dataclass, field
from datetime import timedelta

from app.bus.local import LocalBus
from app.domain.access import Role, RoleVerbGate
from app.domain.handles import HandleMint
from app.domain.sessions import SessionOptions
from app.domain.tasks import TaskSpec
from app.domain.tokens import CapToken, Handle, SigningKey, TokenSigner
from app.engine.api_keys import ApiKeys
from app.engine.attempt_runner import RunnerParts
from app.engine.batches import Batches
from app.engine.couriers import Couriers
from app.engine.credentials import Credentials
from app.engine.dispatcher import Dispatcher
from app.engine.feed import Feed
from app.engine.gaps import GapMonitor
from app.engine.large_reads import LargeReads
from app.engine.listening import Listeners
from app.engine.namespaces import Namespaces
from app.engine.nodes import Nodes
from app.engine.ops.nodes import Membership
from app.engine.ops.rules import EngineCfg
from app.engine.ops.sessions import Attach, attach
from app.engine.sessions import Sessions
from app.engine.tasks import Tasks
from app.engine.transactions import Transactions
from app.engine.workers import Workers
from app.spawning.backends.registry import Registries
from app.spawning.catalog import SpawnerCatalog, shipped_catalog
from app.spawning.ports import LayerRegistry
from app.state.port import Store
from tests.support.clocks import HandClock
from tests.support.swarms import still_clocks

CFG = EngineCfg(heartbeat_interval_ms=1000, heartbeat_miss_threshold=2)
ALONE = Membership("N-1", CFG.cluster.lease_ms)
ROOT = "shk_" + "r" * 40
HOUR = timedelta(hours=1)
ZERO = timedelta(0)
EXTERNAL = {"kind": "external"}
SPEC = TaskSpec(agent="coder", initial_directive="Do it.")


@dataclass(slots=True, kw_only=True)
class Ground:
    """The parts that the others are built from."""

    store: Store
    clock: HandClock
    bus: LocalBus = field(default_factory=LocalBus)
    mint: HandleMint = field(default_factory=lambda: HandleMint(os.urandom(32)))
    registries: Registries = field(default_factory=Registries)
    layers: LayerRegistry = field(default_factory=LayerRegistry)
    signer: TokenSigner = field(init=False)
    feed: Feed = field(init=False)
    transactions: Transactions = field(init=False)
    batches: Batches = field(init=False)

    def __post_init__(self) -> None:
        self.signer = TokenSigner([SigningKey("k", os.urandom(32))], clock=self.clock)
        self.feed = Feed(self.store, self.bus, poll_interval_s=1.0)
        self.transactions = Transactions(
            store=self.store,
            bus=self.bus,
            feed=self.feed,
            signer=self.signer,
            mint=self.mint,
            gate=RoleVerbGate(),
            cfg=CFG,
        )
        self.batches = Batches(self.transactions)

    def keys(self) -> ApiKeys:
        return ApiKeys(self.transactions, batches=self.batches, mint=self.mint, gate=RoleVerbGate())

    def catalog(self) -> SpawnerCatalog:
        return shipped_catalog(operators=self.registries.operators)

    def couriers(self) -> Couriers:
        return Couriers(self.store, self.feed, self.registries.bridges, CFG.limits)

    def credentials(self) -> Credentials:
        return Credentials(
            self.transactions, batches=self.batches, signer=self.signer, bus=self.bus, clock=self.clock, cfg=CFG
        )

    def tasks(self) -> Tasks:
        return Tasks(self.transactions, batches=self.batches, large=LargeReads(self.transactions), nodes=ALONE, cfg=CFG)

    def workers(self) -> Workers:
        return Workers(
            self.transactions,
            keys=self.keys(),
            mint=self.mint,
            layers=self.layers,
            listeners=self.listeners(),
            cfg=CFG,
        )

    def listeners(self) -> Listeners:
        return Listeners(self.transactions, clock=self.clock, node=lambda: "N")

    def sessions(self) -> Sessions:
        return Sessions(
            self.transactions,
            keys=self.keys(),
            namespaces=Namespaces(self.transactions),
            signer=self.signer,
            registries=self.registries,
            couriers=self.couriers(),
            gaps=self.gaps(),
            cfg=CFG,
        )

    def nodes(self) -> Nodes:
        return Nodes(self.transactions, store=self.store, bus=self.bus, clock=self.clock, cfg=CFG)

    def gaps(self) -> GapMonitor:
        return GapMonitor(self.transactions, store=self.store, peers=self.nodes(), clocks=still_clocks)

    def dispatcher(self) -> Dispatcher:
        parts = RunnerParts(
            transactions=self.transactions,
            layers=self.layers,
            mint=self.mint,
            sign=self.credentials().sign,
            cfg=CFG,
        )
        return Dispatcher(parts, catalog=self.catalog(), bus=self.bus, node=lambda: "N-1")

    async def token(self, role: Role = Role.OPERATOR) -> CapToken:
        """The token of a new session."""
        asked = Attach(operator_id=role.value, role=role, ttl=HOUR, options=SessionOptions())
        _, record = await self.transactions.run("attach", lambda state: attach(state, asked))
        return self.signer.sign(record.claims())

    async def task(self) -> str:
        """A pending task."""
        return (await self.tasks().start(await self.token(), SPEC)).task.id

    async def work(self) -> tuple[str, Handle]:
        """A task whose attempt a worker has claimed."""
        task_id = await self.task()
        dispatched, _ = await self.dispatcher().dispatch(await self.token(), task_id, EXTERNAL)
        assert dispatched.handle is not None
        return task_id, Handle(dispatched.handle)
