"""The registry of nodes: a row per server process, kept alive by heartbeats, by the database's clock."""

from __future__ import annotations

from dataclasses import dataclass

import sqlalchemy as sa

from app.domain.clock import Instant
from app.domain.nodes import Node, NodeState
from app.engine.ops.rules import HOUR
from app.state import schema
from app.state.state import State
from app.state.statements import Statement
from app.state.tables import NODES

DEAD_SHOWN_MS = HOUR
"""How long a dead node is still listed."""
DEAD_KEPT_MS = 2 * HOUR
"""How long its row is kept: longer than with the longest lease it is listed."""
MOST_LISTED = 1_000
_SEEN_SINCE = NODES.search(
    schema.nodes.c.seen_at > sa.bindparam("since"), order=(schema.nodes.c.seen_at.desc(),), limit=True
)

_FORGET = Statement(sa.delete(schema.nodes).where(schema.nodes.c.seen_at <= sa.bindparam("before")))


def register(state: State, node_id: str, *, url: str, version: str) -> Node:
    """Add the row of a node that starts now, and return it; rows that nobody lists any more are removed."""
    now = state.database_now()
    _FORGET.change(state.db, before=now - DEAD_KEPT_MS)
    node = Node(id=node_id, url=url, version=version, started_at=now, seen_at=now, draining=False)
    NODES.insert(state.db, node)
    return node


def record_heartbeat(state: State, node: Node) -> None:
    """Renew the lease of a node; one whose row is gone, because it was dead for long, is registered again."""
    now = state.database_now()
    if not NODES.update(state.db, node.id, seen_at=now):
        NODES.insert(state.db, node._replace(seen_at=now))


@dataclass(frozen=True, slots=True)
class Membership:
    """This node's view of the others: who counts as alive. `own_id` names this node."""

    own_id: str
    lease_ms: int

    def is_alive(self, state: State, node: Node, now: Instant) -> bool:
        """Return whether a node's lease lasts at an instant of the database's clock.

        SQLite has one server process at a time: there only this node is alive.
        """
        return node.id == self.own_id if state.db.dialect == "sqlite" else node.seen_at > now - self.lease_ms

    def has_others(self, state: State) -> bool:
        """Return whether another node is alive."""
        since = state.database_now() - self.lease_ms
        seen = _SEEN_SINCE.all(state.db, since=since, limit=2)
        return any(node.id != self.own_id and self.is_alive(state, node, since + self.lease_ms) for node in seen)

    def find(self, state: State, node_id: str) -> NodeState | None:
        """Return a node and whether it is alive; None for one that has left, or is dead for long."""
        node = NODES.get(state.db, node_id)
        return None if node is None else NodeState(node, self.is_alive(state, node, state.database_now()))

    def listed(self, state: State) -> list[NodeState]:
        """Return the nodes in the order of their starts: living ones, and those that died within the last hour."""
        now = state.database_now()
        rows = _SEEN_SINCE.all(state.db, since=now - self.lease_ms - DEAD_SHOWN_MS, limit=MOST_LISTED)
        rows.sort(key=lambda node: (node.started_at, node.id))
        return [NodeState(node, self.is_alive(state, node, now)) for node in rows]
