"""Idempotency keys: a repeated key and body return the object of the first call, recorded in its transaction."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar

import sqlalchemy as sa

from app.domain.access import Caller
from app.domain.errors import Conflict, IdempotencyMismatch
from app.domain.json import Json
from app.state import schema
from app.state.state import State
from app.state.statements import Statement

R = TypeVar("R")

_I = schema.idempotency.c
_GET = Statement(
    sa.select(_I.fingerprint, _I.result).where(_I.scope == sa.bindparam("in_scope"), _I.key == sa.bindparam("of_key"))
)
_INSERT = Statement(sa.insert(schema.idempotency))


@dataclass(frozen=True, slots=True)
class Idempotency:
    """A caller's key with a digest of the request that carried it."""

    key: str
    fingerprint: str


def once(
    state: State,
    scope: str,
    idempotency: Idempotency | None,
    make: Callable[[], R],
    *,
    name: Callable[[R], Any],
    again: Callable[[Any], R],
    task_of: Callable[[R], str] | None = None,
) -> R:
    """Return `make()` for the first call with this key, and `again(name(first result))` for a repeated one.

    `scope` keeps the keys of different callers apart. The key is kept for as long as the task that `task_of` names. A
    result of None made nothing and is not recorded. Raises IdempotencyMismatch when the key came with another request
    before.
    """
    if idempotency is None:
        return make()
    before = known(state, scope, idempotency)
    if before is not None:
        return again(before.value)
    try:
        made = make()
    except Conflict:
        # Nothing was written yet; perhaps a concurrent call with this key was first.
        before = known(state, scope, idempotency)
        if before is None:
            raise
        return again(before.value)
    if made is None:
        return made
    _INSERT.change(
        state.db,
        scope=scope,
        key=idempotency.key,
        fingerprint=idempotency.fingerprint,
        result=Json.of(name(made)).text,
        created_at=state.now,
        task_id=None if task_of is None else task_of(made),
    )
    return made


def known(state: State, scope: str, idempotency: Idempotency) -> Json | None:
    """Return the name of what the key made before, if anything. Raises IdempotencyMismatch."""
    rows = _GET.query(state.db, in_scope=scope, of_key=idempotency.key)
    if not rows:
        return None
    fingerprint, result = rows[0]
    if fingerprint != idempotency.fingerprint:
        raise IdempotencyMismatch(idempotency.key)
    return Json(result)


def scope_of(caller: Caller, route: str) -> str:
    """Return the scope of a caller's keys on a route, whichever of its tokens it presents.

    A worker is identified by its attempt: one worker's name may have many attempts. Others are by their API key: names
    are labels, which several keys may use.
    """
    who = caller.subject
    if caller.task_id is not None:
        who = f"{caller.task_id}#{caller.attempt}" if caller.attempt is not None else f"{caller.task_id}:{who}"
    if caller.attempt is None:
        return f"{caller.namespace}:{caller.key_id or ''}:{caller.role}:{who}:{route}"
    return f"{caller.role}:{who}:{route}"
