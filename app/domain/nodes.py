"""Nodes: the server processes that share one database."""

from __future__ import annotations

from typing import NamedTuple

from app.domain.clock import Instant


class Node(NamedTuple):
    """One row of `nodes`: a server process from its start to its end. Its instants are by the database's clock.

    `seen_at` is its last heartbeat, `recording_since` since when it has recorded the heartbeats of workers without a
    gap. A draining node finishes what it has and takes on nothing more. From `dead_at` on it can commit nothing.
    """

    id: str
    url: str
    version: str
    started_at: Instant
    seen_at: Instant
    draining: bool
    dead_at: Instant | None = None
    recording_since: Instant = 0


class NodeState(NamedTuple):
    """A node, and whether its lease lasts: without a heartbeat for that long others treat it as dead."""

    node: Node
    alive: bool


class Registered(NamedTuple):
    """One row of `registrations`: what is registered under a name (kind and id) of a namespace is on this node.

    `epoch` grows with every registration, so that the one before finds out.
    """

    namespace: int
    name: str
    node: str
    epoch: int
    registered_at: Instant
