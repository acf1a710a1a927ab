"""This node among those that share the database: registered at the start, kept alive by heartbeats, gone at the end."""

from __future__ import annotations

import asyncio
from contextlib import suppress

import structlog

from app import __version__
from app.bus.port import HintBus
from app.domain.errors import Busy
from app.domain.nodes import Node, NodeState
from app.domain.tokens import CapToken
from app.engine.ops import nodes
from app.engine.ops.nodes import Membership
from app.engine.ops.rules import EngineCfg
from app.engine.sessions import READERS
from app.engine.transactions import Transactions
from app.state.state import State
from app.state.tables import NODES

RETRY_S = 1.0
"""Pause after a heartbeat that could not be recorded, unless heartbeats are more frequent anyway."""

_log = structlog.get_logger(__name__)


class Nodes:
    """The registry of nodes, and this node's row in it."""

    def __init__(self, transactions: Transactions, *, own_id: str, bus: HintBus, cfg: EngineCfg) -> None:
        self.membership = Membership(own_id, cfg.cluster.lease_ms)
        self._transactions = transactions
        self._bus = bus
        self._heartbeat_s = cfg.cluster.heartbeat_ms / 1000
        self._url = cfg.cluster.node_url or cfg.base_url
        self._row: Node | None = None

    @property
    def own_id(self) -> str:
        """The id of this node, one for each start."""
        return self.membership.own_id

    async def join(self) -> None:
        """Register this node."""

        def run(state: State) -> tuple[Node, bool]:
            row = nodes.register(state, self.own_id, url=self._url, version=__version__)
            return row, self.membership.has_others(state)

        self._row, others = await self._transactions.run("register_node", run)
        self._bus.expect_others(others)

    async def keep_alive(self) -> None:
        """Record heartbeats until cancelled."""
        pause_s = self._heartbeat_s
        while True:
            await asyncio.sleep(pause_s)
            pause_s = min(self._heartbeat_s, RETRY_S)
            try:
                await self.record_heartbeat()
            except Busy as error:
                _log.warning("node_heartbeat_failed", reason=str(error))
            except Exception:  # noqa: BLE001 - without this loop others would take this node for dead
                _log.exception("node_heartbeat_failed")
            else:
                pause_s = self._heartbeat_s

    async def record_heartbeat(self) -> None:
        """Renew the lease of this node, and note whether it is alone. Raises Busy."""
        row = self._row
        if row is None:
            return

        def run(state: State) -> bool:
            nodes.record_heartbeat(state, row)
            return self.membership.has_others(state)

        self._bus.expect_others(await self._transactions.run("node_heartbeat", run))

    async def drain(self) -> None:
        """Mark this node as draining, for the rest of its life; if the database is away, nobody learns of it."""
        if self._row is not None:
            self._row = row = self._row._replace(draining=True)
            with suppress(Busy):
                await self._transactions.run("drain_node", lambda state: NODES.update(state.db, row.id, draining=True))

    async def leave(self) -> None:
        """Remove this node's row; if the database is away, the others see its lease end."""
        row, self._row = self._row, None
        if row is not None:
            with suppress(Busy):
                await self._transactions.run("remove_node", lambda state: NODES.delete(state.db, row.id))

    async def listed(self, token: CapToken) -> list[NodeState]:
        """Return the nodes in the order of their starts, dead ones for an hour."""
        return await self._transactions.read_as(token, READERS, lambda state, _: self.membership.listed(state))
