"""Idempotency keys: the same key and body give the same object, committed together with it."""

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
    """A caller's key and a digest of the request that it came with."""

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
) -> R:
    """`make()` the first time, and `again(name of the first result)` for a repeat of the same request.

    `scope` names the caller, so that two callers' keys never meet. A result of None made nothing, and is not
    remembered. Raises IdempotencyMismatch for the same key with another request.
    """
    if idempotency is None:
        return make()
    known = _known(state, scope, idempotency)
    if known is not None:
        return again(known.value)
    try:
        made = make()
    except Conflict:
        # Refused before anything was written: perhaps because the same request, running beside this one, was first.
        known = _known(state, scope, idempotency)
        if known is None:
            raise
        return again(known.value)
    if made is None:
        return made
    _INSERT.change(
        state.db,
        scope=scope,
        key=idempotency.key,
        fingerprint=idempotency.fingerprint,
        result=Json.of(name(made)).text,
        created_at=state.now,
    )
    return made


def _known(state: State, scope: str, idempotency: Idempotency) -> Json | None:
    """The name of what the key made before. Raises IdempotencyMismatch."""
    rows = _GET.query(state.db, in_scope=scope, of_key=idempotency.key)
    if not rows:
        return None
    fingerprint, result = rows[0]
    if fingerprint != idempotency.fingerprint:
        raise IdempotencyMismatch(idempotency.key)
    return Json(result)


def scope_of(caller: Caller, route: str) -> str:
    """Names the caller and what it asks for, whatever token it holds at the moment.

    A worker is its attempt: many attempts are worked on under one worker's name.
    """
    who = caller.subject
    if caller.task_id is not None:
        who = f"{caller.task_id}#{caller.attempt}" if caller.attempt is not None else f"{caller.task_id}:{who}"
    return f"{caller.role}:{who}:{route}"
