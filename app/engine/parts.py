"""The parts that an engine is built from, and their defaults."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass

from app.bus.local import LocalBus
from app.bus.port import HintBus
from app.domain.access import RoleVerbGate
from app.domain.audit import AuditSeal
from app.domain.clock import Clock, system_clock
from app.domain.handles import HandleMint
from app.domain.spans import SpanWriter
from app.domain.tokens import SigningKey, TokenSigner
from app.engine.gaps import MachineClocks, machine_clocks
from app.engine.ops.rules import EngineCfg
from app.spawning.backends.registry import Registries
from app.spawning.catalog import SpawnerCatalog, shipped_catalog
from app.spawning.layers import shipped_layers
from app.spawning.outbound.webhooks import WebhookSender
from app.spawning.ports import LayerRegistry
from app.state.opening import open_store
from app.state.port import Store


@dataclass(frozen=True, slots=True, kw_only=True)
class Parts:
    """The parts that an engine is built from. Without `webhook_sender` it sends no events to webhooks.

    The store chains its audit log with `seal`. `spans` writes what ended here, where traces are exported.
    """

    cfg: EngineCfg
    open_store: Callable[[], Store]
    bus: HintBus
    signer: TokenSigner
    mint: HandleMint
    seal: AuditSeal
    gate: RoleVerbGate
    layers: LayerRegistry
    catalog: SpawnerCatalog
    registries: Registries
    clock: Clock
    webhook_sender: WebhookSender | None = None
    machine_clocks: MachineClocks = machine_clocks
    spans: SpanWriter | None = None


def default_parts(
    cfg: EngineCfg,
    *,
    store_url: str = ":memory:",
    registries: Registries | None = None,
    catalog: SpawnerCatalog | None = None,
) -> Parts:
    """Return parts of an engine with random keys over the store at `store_url`."""
    registries = registries or Registries()
    seal = AuditSeal([SigningKey("memory", os.urandom(32))])
    return Parts(
        cfg=cfg,
        open_store=lambda: open_store(store_url, policy=cfg.hold, seal=seal),
        bus=LocalBus(),
        signer=TokenSigner([SigningKey("memory", os.urandom(32))]),
        mint=HandleMint(os.urandom(32)),
        seal=seal,
        gate=RoleVerbGate(),
        layers=shipped_layers(
            hooks=registries.hooks,
            operators=registries.operators,
            long_hold_s=cfg.long_hold_ms / 1000,
            limits=cfg.limits,
        ),
        catalog=catalog or shipped_catalog(operators=registries.operators, limits=cfg.limits),
        registries=registries,
        clock=system_clock,
    )
