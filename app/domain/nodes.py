"""Nodes: the server processes that share one database."""

from __future__ import annotations

from typing import NamedTuple

from app.domain.clock import Instant


class Node(NamedTuple):
    """One row of `nodes`: a server process from its start to its end. Its instants are by the database's clock.

    `seen_at` is its last heartbeat. A draining node finishes what it has and takes on nothing more.
    """

    id: str
    url: str
    version: str
    started_at: Instant
    seen_at: Instant
    draining: bool


class NodeState(NamedTuple):
    """A node, and whether its lease lasts: without a heartbeat for that long others treat it as dead."""

    node: Node
    alive: bool
