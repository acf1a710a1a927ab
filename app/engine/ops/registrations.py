"""Rows of what is registered on which node, one for each bridge, hook and backend, by namespace and name (kind and id).

The last registration wins, on whichever node it is: it gets a new epoch, by which the one before finds out.
"""

from __future__ import annotations

from collections.abc import Iterable

import sqlalchemy as sa

from app.domain.nodes import Registered
from app.state import schema
from app.state.state import State
from app.state.statements import Statement
from app.state.tables import REGISTRATIONS

TOPIC = "registrations"
"""Woken when something was registered."""

_R = schema.registrations.c
_OF_NODE = REGISTRATIONS.search(_R.node == sa.bindparam("of_node"))
_NAMES = REGISTRATIONS.search(_R.namespace == sa.bindparam("of_namespace"), order=(_R.name,))
_HAS_NODE = sa.exists().where(schema.nodes.c.id == _R.node, schema.nodes.c.dead_at.is_(None))
_DELETE_LEFT = Statement(sa.delete(schema.registrations).where(sa.not_(_HAS_NODE)))

Place = tuple[int, str]
"""Namespace and name."""


def hold(state: State, node: str, place: Place, *, unless_taken: bool = False) -> int | None:
    """Register a node at a place and return the epoch.

    The registration before is replaced; with `unless_taken` it returns None instead.
    """
    found = REGISTRATIONS.lock(state.db, *place)
    if found is not None and unless_taken and found.node != node:
        return None
    epoch = 1 if found is None else found.epoch + 1
    if found is None:
        REGISTRATIONS.insert(state.db, Registered(*place, node, epoch, state.now))
    else:
        REGISTRATIONS.update(state.db, *place, node=node, epoch=epoch, registered_at=state.now)
    state.wake(TOPIC)
    return epoch


def give_up(state: State, node: str, place: Place, epoch: int) -> None:
    """Remove a registration of a node, unless somebody holds its place under another epoch."""
    found = REGISTRATIONS.lock(state.db, *place)
    if found is not None and (found.node, found.epoch) == (node, epoch):
        REGISTRATIONS.delete(state.db, *place)


def remove_left(state: State) -> None:
    """Remove what nodes had registered that left or died."""
    _DELETE_LEFT.change(state.db)


def of_node(state: State, node: str) -> dict[Place, int]:
    """Return what a node holds, with the epochs."""
    return {(row.namespace, row.name): row.epoch for row in _OF_NODE.all(state.db, of_node=node)}


def elsewhere(state: State, node: str, places: Iterable[Place]) -> list[Place]:
    """Return at which of these places another node is registered."""
    found = ((place, REGISTRATIONS.get(state.db, *place)) for place in places)
    return [place for place, row in found if row is not None and row.node != node]


def names(state: State, namespace: int) -> list[str]:
    """Return the names (kind and id) of what is registered in a namespace, on any node, sorted."""
    return [row.name for row in _NAMES.all(state.db, of_namespace=namespace)]
