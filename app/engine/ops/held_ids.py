"""Ids of bridges, hooks and backends: one space in a namespace, each id owned by the API key that first held it.

Naming an id, to address a question or to dispatch to it, is free. The root key and code of this process may hold any id
and own none.
"""

from __future__ import annotations

import sqlalchemy as sa

from app.domain.errors import HeldIdNotFound, IdTaken
from app.domain.events import EventKind
from app.domain.tokens import ApiKey, HeldId
from app.engine.ops import audit
from app.state import schema
from app.state.state import State
from app.state.statements import Statement
from app.state.tables import API_KEYS, HELD_IDS, NAMESPACES

_H = schema.held_ids.c
_NAMESPACE = NAMESPACES.search(schema.namespaces.c.name == sa.bindparam("of_name"))
_OF_KEY = Statement(sa.delete(schema.held_ids).where(_H.key_id == sa.bindparam("of_key")))


def hold(state: State, namespace: int, id: str, key_id: str | None) -> None:
    """Let this key hold the id; its first holder owns it. Raises IdTaken when a living key of others owns it."""
    holder = None if key_id is None else API_KEYS.get(state.db, key_id)
    if holder is None or holder.root:
        return
    found = HELD_IDS.lock(state.db, namespace, id)
    if found is not None and found.key_id != holder.id:
        owner = API_KEYS.get(state.db, found.key_id)
        if owner is not None and _is_alive(state, owner):
            raise IdTaken(id)
        HELD_IDS.update(state.db, namespace, id, key_id=holder.id, held_at=state.now)
    elif found is None:
        HELD_IDS.insert(state.db, HeldId(namespace, id, holder.id, state.now))


def _is_alive(state: State, key: ApiKey) -> bool:
    return key.revoked_at is None and (key.expires_at is None or key.expires_at > state.now)


def release(state: State, namespace: str, id: str, *, by: ApiKey) -> None:
    """Release an id from the key that owns it, and close its connection. Raises HeldIdNotFound."""
    place = _NAMESPACE.first(state.db, of_name=namespace)
    if place is None or not HELD_IDS.delete(state.db, place.id, id):
        raise HeldIdNotFound(id)
    state.emit(EventKind.ID_RELEASED, namespace=place.id, id=id, by=audit.name_of(by))
    audit.record(state, by, "id_released", target=id, namespace=place.id)


def release_all(state: State, key_id: str) -> None:
    """Release every id that the key owns."""
    _OF_KEY.change(state.db, of_key=key_id)
