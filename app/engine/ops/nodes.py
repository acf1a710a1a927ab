"""The registry of nodes: a row per server process, kept alive by heartbeats, by the database's clock."""

from __future__ import annotations

from dataclasses import dataclass

import sqlalchemy as sa

from app.domain.clock import Instant
from app.domain.nodes import Node, NodeState
from app.engine.ops import cancelling, recovery, registrations, webhooks
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

_N = schema.nodes.c
_OTHERS = (_N.id != sa.bindparam("of_node"), _N.dead_at.is_(None))
_LIVING = NODES.search(*_OTHERS, order=(_N.id,))
_OVERDUE = Statement(sa.select(_N.id).where(*_OTHERS, _N.seen_at <= sa.bindparam("since")))
_RENEW = Statement(
    sa.update(schema.nodes)
    .where(_N.id == sa.bindparam("of_node"), _N.dead_at.is_(None))
    .values(seen_at=sa.bindparam("now"), recording_since=sa.bindparam("since"))
)
_FORGET = Statement(sa.delete(schema.nodes).where(schema.nodes.c.seen_at <= sa.bindparam("before")))


def register(state: State, node_id: str, *, url: str, version: str) -> Node:
    """Add the row of a node that starts now, and return it; rows that nobody lists any more are removed."""
    now = state.database_now()
    _FORGET.change(state.db, before=now - DEAD_KEPT_MS)
    node = Node(id=node_id, url=url, version=version, started_at=now, seen_at=now, draining=False, recording_since=now)
    NODES.insert(state.db, node)
    return node


def record_heartbeat(state: State, node_id: str, *, recorded_for_ms: int) -> bool:
    """Renew the lease of a node that has recorded the heartbeats of workers for that long; False if it is dead."""
    now = state.database_now()
    return bool(_RENEW.change(state.db, of_node=node_id, now=now, since=now - recorded_for_ms))


def dead(state: State, own_id: str, *, lease_ms: int) -> list[str]:
    """Return the other nodes whose lease is over and who are not marked as dead yet.

    None while this node was away itself for a part of the lease: then they may have been as well.
    """
    now = state.database_now()
    own = NODES.get(state.db, own_id)
    if own is None or own.recording_since > now - lease_ms:
        return []
    return [row[0] for row in _OVERDUE.query(state.db, of_node=own_id, since=now - lease_ms)]


def living(state: State, own_id: str) -> list[Node]:
    """Return the other nodes that are not marked as dead."""
    return _LIVING.all(state.db, of_node=own_id)


def declare_dead(state: State, node_id: str, *, lease_ms: int | None = None) -> bool:
    """Mark a node as dead, whose rows others may claim from now on; return whether it was not before.

    With `lease_ms` only if its lease is over.
    """
    node, now = NODES.lock(state.db, node_id), state.database_now()
    if node is None or node.dead_at is not None or (lease_ms is not None and node.seen_at > now - lease_ms):
        return False
    NODES.update(state.db, node_id, dead_at=now)
    _left(state)
    return True


def leave(state: State, node_id: str) -> None:
    """Remove a node that has stopped; others may claim its rows from now on."""
    NODES.delete(state.db, node_id)
    _left(state)


def _left(state: State) -> None:
    registrations.remove_left(state)
    for topic in (recovery.TOPIC, webhooks.TOPIC, cancelling.TOPIC):
        state.wake(topic)


@dataclass(slots=True)
class Membership:
    """This node's view of the others: who counts as alive. `own_id` names this node."""

    own_id: str
    lease_ms: int

    def is_alive(self, state: State, node: Node, now: Instant) -> bool:
        """Return whether a node's lease lasts at an instant of the database's clock.

        SQLite has one server process at a time: there only this node is alive.
        """
        if state.db.dialect == "sqlite":
            return node.id == self.own_id
        return node.dead_at is None and node.seen_at > now - self.lease_ms

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
