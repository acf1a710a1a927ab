"""Named values that any token with `fetch_data` may read."""

from __future__ import annotations

import sqlalchemy as sa

from app.domain.errors import ResourceNotFound
from app.domain.json import Json
from app.domain.names import check_name
from app.engine.ops import audit
from app.state import schema
from app.state.state import State
from app.state.statements import Statement

_R = schema.resources.c
_NAMED = (_R.namespace == sa.bindparam("of_namespace"), _R.key == sa.bindparam("name"))
_GET = Statement(sa.select(_R.value, _R.updated_at).where(*_NAMED))
_SIZE = Statement(sa.select(sa.func.octet_length(_R.value)).where(*_NAMED))
_DELETE = Statement(sa.delete(schema.resources).where(*_NAMED))
_INSERT = Statement(sa.insert(schema.resources))


def put(state: State, namespace: int, key: str, value: Json, *, by: audit.By) -> None:
    """Set a named value, replacing an earlier one. Raises InvalidName."""
    check_name(key, "key")
    _DELETE.change(state.db, of_namespace=namespace, name=key)
    _INSERT.change(state.db, namespace=namespace, key=key, value=value.text, updated_at=state.now)
    audit.record(state, by, "resource_set", target=key, namespace=namespace, **audit.value(value))


def find(state: State, namespace: int, key: str) -> Json | None:
    """Return the value; None when no resource has this name."""
    rows = _GET.query(state.db, of_namespace=namespace, name=key)
    return Json(rows[0][0]) if rows else None


def size(state: State, namespace: int, key: str) -> int:
    """Return the bytes of the value. Raises ResourceNotFound."""
    rows = _SIZE.query(state.db, of_namespace=namespace, name=key)
    if not rows:
        raise ResourceNotFound(key)
    return int(rows[0][0])


def read(state: State, namespace: int, key: str) -> tuple[Json, int]:
    """Return the value and when it was set. Raises ResourceNotFound."""
    rows = _GET.query(state.db, of_namespace=namespace, name=key)
    if not rows:
        raise ResourceNotFound(key)
    return Json(rows[0][0]), rows[0][1]
