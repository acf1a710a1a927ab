"""This node among those that share the database: registered at the start, kept alive by heartbeats, gone at the end.

A node whose lease is over is declared dead by whichever other node looks first: its row says so, its sessions in the
database are ended, and what it drove, delivered and had registered is anybody's. A node that finds itself dead, or that
cannot renew its lease while others may take over from it, is *fenced*: it ends what it runs and joins anew.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from functools import partial

import structlog

from app import __version__
from app.bus.port import HintBus
from app.domain.clock import Clock, Instant, running_ms
from app.domain.errors import Busy
from app.domain.ids import IdSource
from app.domain.nodes import Node, NodeState
from app.domain.tokens import CapToken
from app.engine.ops import nodes
from app.engine.ops.nodes import Membership
from app.engine.ops.rules import EngineCfg
from app.engine.retrying import retry_while_busy
from app.engine.sessions import READERS
from app.engine.transactions import Transactions
from app.state.port import Store
from app.state.state import State
from app.state.tables import NODES

RETRY_S = 1.0
"""Pause after a heartbeat that could not be recorded, unless heartbeats are more frequent anyway."""
_UNKNOWN_MS = 2_000
"""How much later than a heartbeat is due it is still waited for."""

_log = structlog.get_logger(__name__)


class Nodes:
    """The registry of nodes, and this node's row in it. `fenced` is set when this node has to join anew."""

    def __init__(self, transactions: Transactions, *, store: Store, bus: HintBus, clock: Clock, cfg: EngineCfg) -> None:
        self._ids = IdSource(clock=clock)
        self.membership = Membership(self._ids.new("N"), cfg.cluster.lease_ms)
        self.fenced = asyncio.Event()
        self.times_fenced = 0
        self.recorded_for_ms: Callable[[], int] = lambda: 0
        self._transactions = transactions
        self._store = store
        self._bus = bus
        self._lease_ms = cfg.cluster.lease_ms
        self._heartbeat_ms = cfg.cluster.heartbeat_ms
        self._url = cfg.cluster.node_url or cfg.base_url
        self._draining = False
        self._joined = False
        self._renewed_at = 0
        self._had_others = False

    @property
    def own_id(self) -> str:
        """The id of this node, one for each start, and another one when it was fenced."""
        return self.membership.own_id

    @property
    def draining(self) -> bool:
        """Whether this node is being stopped: it serves on, and claims nothing that others left."""
        return self._draining

    async def join(self) -> None:
        """Register this node. Raises Busy."""
        self._draining = False
        register = partial(nodes.register, node_id=self.own_id, url=self._url, version=__version__)
        await self._transactions.run("register_node", register)
        await self._store.enter(self.own_id)
        self._joined, self._renewed_at = True, running_ms()

    async def join_anew(self) -> None:
        """Give the row of this node up and register another one. Raises Busy."""
        former = self.own_id
        await self._store.enter(None)
        await self._transactions.run("declare_dead", lambda state: nodes.declare_dead(state, former))
        await self._store.end_sessions_of(former)
        self.membership.own_id = self._ids.new("N")
        await self.join()
        self._expect(await self.others_alive())
        self.fenced.clear()
        _log.warning("node_joined_anew", node=self.own_id, former=former)

    def current(self) -> str:
        """Return the id of this node."""
        return self.own_id

    async def run(self, end_running: Callable[[], Awaitable[None]]) -> None:
        """Keep this node alive, and join anew when it is fenced, once what it runs has ended. Runs until cancelled."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._keep_alive())
            while True:
                await self.fenced.wait()
                await end_running()
                await retry_while_busy(self.join_anew, doing="join_anew")

    async def _keep_alive(self) -> None:
        """Record heartbeats until cancelled."""
        pause_s = self._heartbeat_ms / 1000
        while True:
            await asyncio.sleep(pause_s)
            pause_s = min(self._heartbeat_ms / 1000, RETRY_S)
            try:
                await self.record_heartbeat()
            except Busy as error:
                self._fence_if_overdue()
                _log.warning("node_heartbeat_failed", reason=str(error))
            except Exception:  # noqa: BLE001 - without this loop others would take this node for dead
                _log.exception("node_heartbeat_failed")
            else:
                pause_s = self._heartbeat_ms / 1000

    async def record_heartbeat(self) -> None:
        """Renew the lease of this node, which is fenced if it was declared dead. Raises Busy."""
        if not self._joined or self.fenced.is_set():
            return
        began, recorded_for_ms = running_ms(), self.recorded_for_ms()

        def renew(state: State) -> tuple[bool, bool]:
            renewed = nodes.record_heartbeat(state, self.own_id, recorded_for_ms=recorded_for_ms)
            return renewed, bool(nodes.living(state, self.own_id))

        renewed, others = await self._transactions.run("node_heartbeat", renew)
        self._expect(others)
        if renewed:
            self._renewed_at = began
        else:
            self._fence("it was declared dead")

    def _expect(self, others: bool) -> None:
        """Note whether this node is alone: then hints need not leave it, and nobody takes over from it."""
        self._had_others = others
        self._bus.expect_others(others)

    def _fence_if_overdue(self) -> None:
        if self._store.fenced:
            self._fence("it was declared dead")
        elif self._had_others and running_ms() - self._renewed_at > self._lease_ms:
            self._fence("it could not renew its lease")

    def _fence(self, reason: str) -> None:
        if not self.fenced.is_set():
            self.fenced.set()
            self.times_fenced += 1
            _log.error("node_fenced", node=self.own_id, reason=reason)

    # Others

    async def others_alive(self) -> bool:
        """Return whether there are other nodes that were not declared dead."""
        return bool(await self._others())

    async def covered(self, started_at: Instant, ended_at: Instant) -> bool | None:
        """Return whether another node recorded heartbeats for all of this time; None while that is unknown."""
        others = await self._others()
        if not others:
            return False
        if any(node.recording_since <= started_at and node.seen_at >= ended_at for node in others):
            return True
        now = await self._transactions.read(State.database_now)
        if now - ended_at > self._heartbeat_ms + _UNKNOWN_MS:
            return False
        return False if all(node.recording_since > started_at for node in others) else None

    async def _others(self) -> list[Node]:
        return await self._transactions.read(lambda state: nodes.living(state, self.own_id))

    async def declare_dead(self) -> list[str]:
        """Declare nodes dead whose lease is over, and return which. Raises Busy."""
        overdue = await self._transactions.read(lambda state: nodes.dead(state, self.own_id, lease_ms=self._lease_ms))
        return [node_id for node_id in overdue if await self._end(node_id, lease_ms=self._lease_ms)]

    async def declare_gone(self) -> list[str]:
        """Declare nodes dead that are not connected to the database: those that crashed. Raises Busy."""
        others = {node.id: node.seen_at for node in await self._others()}
        gone = await self._store.without_sessions(others)
        ended = [node_id for node_id in gone if await self._end(node_id, lease_ms=None)]
        self._expect(await self.others_alive())
        return ended

    async def _end(self, node_id: str, *, lease_ms: int | None) -> bool:
        declare = partial(nodes.declare_dead, node_id=node_id, lease_ms=lease_ms)
        declared = await self._transactions.run("declare_dead", declare)
        await self._store.end_sessions_of(node_id)
        if declared:
            _log.warning("node_declared_dead", node=node_id)
        return declared

    # The end

    async def drain(self) -> None:
        """Mark this node as draining, for the rest of its life; if the database is away, nobody learns of it."""
        if self._joined:
            self._draining, own_id = True, self.own_id
            with suppress(Busy):
                await self._transactions.run("drain_node", lambda state: NODES.update(state.db, own_id, draining=True))

    async def leave(self) -> None:
        """Remove this node's row; if the database is away, the others see its lease end."""
        joined, self._joined = self._joined, False
        if joined:
            with suppress(Busy):
                await self._transactions.run("remove_node", lambda state: nodes.leave(state, self.own_id))

    async def listed(self, token: CapToken) -> list[NodeState]:
        """Return the nodes in the order of their starts, dead ones for an hour."""
        return await self._transactions.read_as(token, READERS, lambda state, _: self.membership.listed(state))
