"""The Engine: one per process, the seed's methods under their own names.

It is thin. Each concern's calls stand in a module of their own (`access`, `sessions`, `tasks`, `workers`, `seniors`,
`webhooks`, `attempts`) over the operations in `ops`; here they are put together, started and stopped.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable
from dataclasses import replace
from types import TracebackType
from typing import Any

import structlog

from app.bus.local import LocalBus
from app.domain.access import RoleVerbGate
from app.domain.clock import system_clock
from app.domain.handles import HandleMint
from app.domain.ids import IdSource
from app.domain.tokens import SigningKey, TokenSigner
from app.engine.background import Background
from app.engine.core import Core, Parts, Registries
from app.engine.deliveries import Deliveries
from app.engine.feed import EventStream, Feed
from app.engine.ops.rules import EngineCfg
from app.engine.seniors import SeniorCalls
from app.engine.sessions import SessionCalls
from app.engine.tasks import TaskCalls
from app.engine.webhooks import WebhookCalls
from app.engine.workers import WorkerCalls
from app.spawning.catalog import SpawnerCatalog, shipped_catalog
from app.spawning.layers import shipped_layers
from app.spawning.ports import LayerRegistry
from app.state.opening import open_store
from app.state.port import Store

_log = structlog.get_logger(__name__)


class Engine(SessionCalls, TaskCalls, WorkerCalls, SeniorCalls, WebhookCalls, Background):
    """Tasks, attempts, sessions and questions, kept in a store; the one place that changes them.

    Belongs to one event loop. Use it as an async context manager, or `start` and `stop` it. Nothing is acknowledged
    before it is committed; a stopped or killed engine goes on from its store.
    """

    def __init__(self, parts: Parts) -> None:
        Core.__init__(self, parts)
        self._node = IdSource(clock=parts.clock).new("N")
        self._drivers = {}
        self._custom = {}
        self._loops = set()
        self._timer_wake = asyncio.Event()
        self._next_look = 0.0
        self._errands = set()
        self._running = False

    @classmethod
    def new(cls, cfg: EngineCfg | None = None) -> Engine:
        """An engine in memory with the shipped spawners and layers; keys are random. For tests and small programs."""
        return cls(default_parts(cfg or EngineCfg()))

    @classmethod
    def new_with_layers(cls, cfg: EngineCfg, layer_registry: LayerRegistry) -> Engine:
        """The same with a layer registry of the caller's."""
        return cls(replace(default_parts(cfg), layers=layer_registry))

    def with_gate(self, gate: RoleVerbGate) -> Engine:
        """An engine with another gate and a store opened anew (empty when it is in memory); not started."""
        return type(self)(replace(self._parts, gate=gate, bus=LocalBus()))

    # Life

    async def start(self) -> None:
        """Open the store, take over what a dead server process left, and begin to carry out what falls due."""
        if self._running:
            return
        await self._store.open()
        try:
            await self._bus.open()
            self._running, self._stopping = True, False
            recovered = await self.recover()
            _log.info("engine_started", node=self._node, recovered=recovered)
            self.start_timers()
            self.start_search()
            self._start_deliveries()
            self._couriers.start()
        except BaseException:
            await self.stop()
            raise

    async def stop(self) -> None:
        """Stop loops and drivers, wake whoever waits, close the store. Workers that outlive the server go on."""
        self._running, self._stopping = False, True
        self._due_soon = None
        await self._feed.close()
        await self._couriers.stop()
        if self._errands:
            await asyncio.wait(self._errands, timeout=self._cfg.stop_grace_ms / 1000)
        await _ended([*self._errands, *self._loops])
        await _ended(list(self._drivers.values()))
        await self._bus.close()
        await self._parts.catalog.aclose()
        if self._parts.notices is not None:
            await self._parts.notices.aclose()
        await self._store.close()

    def _start_deliveries(self) -> None:
        """Begin to send events to webhooks, where the settings allow any."""
        notices = self._parts.notices
        if notices is None:
            return
        deliveries = Deliveries(
            store=self._store,
            events=self._feed,
            bus=self._bus,
            notices=notices,
            secret_of=self.webhook_secret,
            clock=self._parts.clock,
            recheck_s=self._cfg.poll_interval_ms / 1000,
        )
        self._own(deliveries.run())

    async def __aenter__(self) -> Engine:
        await self.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.stop()

    async def check(self) -> None:
        """Raise StoreUnavailable unless the store can be read and written now."""
        await self._store.check()

    # Events

    def subscribe(
        self, *, after: int | None = None, kinds: frozenset[str] | None = None, task_id: str | None = None
    ) -> EventStream:
        """Follow the feed from a cursor, or live from now. Close the stream when done.

        A slow reader is told that it lagged, and reads on from the store; it never slows the engine.
        """
        return self._feed.follow(after=after, kinds=kinds, task_id=task_id)

    @property
    def event_tx(self) -> Feed:
        """The feed itself: `follow`, `head` and `page`. Prefer `subscribe`."""
        return self._feed


async def _ended(running: list[asyncio.Task[Any]]) -> None:
    """Cancel all of these and wait for their ends; what they raise was said where it happened."""
    for task in running:
        task.cancel()
    await asyncio.gather(*running, return_exceptions=True)


def default_parts(
    cfg: EngineCfg,
    *,
    place: str = ":memory:",
    registries: Registries | None = None,
    catalog: SpawnerCatalog | None = None,
) -> Parts:
    """Parts of an engine with random keys over the store at `place`; replace what should be otherwise."""
    registries = registries or Registries()
    return Parts(
        cfg=cfg,
        open_store=_opener(place, cfg),
        bus=LocalBus(),
        signer=TokenSigner([SigningKey("memory", os.urandom(32))]),
        mint=HandleMint(os.urandom(32)),
        gate=RoleVerbGate(),
        layers=shipped_layers(
            hooks=registries.hooks, operators=registries.operators, long_hold_s=cfg.long_hold_ms / 1000
        ),
        catalog=catalog or shipped_catalog(operators=registries.operators),
        registries=registries,
        clock=system_clock,
    )


def _opener(place: str, cfg: EngineCfg) -> Callable[[], Store]:
    return lambda: open_store(place, policy=cfg.hold)
