"""Records of decisions in the audit log: who decided what, by which key, session and door, in which namespace.

An operation that decides records one row. A worker's ordinary calls decide nothing and are events.
"""

from __future__ import annotations

from dataclasses import dataclass
from hashlib import sha256
from typing import Any

import sqlalchemy as sa

from app.domain.access import Caller
from app.domain.audit import AuditRow
from app.domain.doors import Door
from app.domain.json import Json
from app.domain.tokens import ApiKey
from app.engine.ops.access import session_of
from app.state import audit_log, schema
from app.state.state import State
from app.state.statements import Statement
from app.state.tables import TOKENS

LONG_VALUE = 1_024
"""Characters of a decided value, as JSON, beyond which a row has its digest alone."""

_K, _N = schema.api_keys.c, schema.namespaces.c
_NAMES = Statement(
    sa.select(
        sa.select(_K.name).where(_K.id == sa.bindparam("of_key")).scalar_subquery(),
        sa.select(_N.name).where(_N.id == sa.bindparam("of_namespace")).scalar_subquery(),
    )
)

By = Caller | ApiKey | str
"""Who decides: the caller of a credential, an API key, or by name what has no credential, as a command."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Actor:
    name: str
    door: Door
    role: str | None = None
    credential: str | None = None
    key_id: str | None = None
    session_id: str | None = None
    namespace: int | None = None
    dispatcher_key_id: str | None = None


def record(
    state: State,
    by: By,
    action: str,
    *,
    target: str | None = None,
    namespace: int | None = None,
    door: Door | None = None,
    **detail: Any,
) -> None:
    """Record a decision, in the namespace of the decider and by the door of the call unless others are given."""
    actor = _actor(state, by)
    place = actor.namespace if namespace is None else namespace
    if actor.dispatcher_key_id is not None:
        detail["dispatcher_key_id"] = actor.dispatcher_key_id
    key_name, namespace_name = _names(state, actor.key_id, place)
    state.audit(
        AuditRow(
            seq=0,
            at=state.now,
            action=action,
            actor=actor.name,
            credential=actor.credential,
            target=target,
            detail=Json.of(detail) if detail else None,
            digest="",
            role=actor.role,
            door=(door or actor.door).value,
            key_id=actor.key_id,
            key_name=key_name,
            session_id=actor.session_id,
            namespace=namespace_name,
            seal_key=None,
        )
    )


def value(decided: Json | None) -> dict[str, Any]:
    """Return the detail of a decided value: itself if it is short, and the digest of its stored text."""
    if decided is None:
        return {}
    digest = {"value_sha256": sha256(decided.text.encode()).hexdigest()}
    return digest if len(decided.text) > LONG_VALUE else {"value": decided.written, **digest}


def name_of(by: ApiKey | str) -> str:
    """Return how events name who decided."""
    return f"key:{by.id}" if isinstance(by, ApiKey) else by


def seal_before(state: State) -> bool:
    """Seal the rows from before there were keys by one row over their head; return whether there were any."""
    if not state.require_seal().unsealed_before or not audit_log.needs_seal(state.db):
        return False
    record(state, "server", audit_log.SEALED, door=Door.ENGINE, head=str(audit_log.head(state.db)))
    return True


def _actor(state: State, by: By) -> _Actor:
    if isinstance(by, ApiKey):
        return _Actor(name=f"key:{by.name}", door=state.door, credential=by.id, key_id=by.id, namespace=by.namespace)
    if isinstance(by, str):
        return _Actor(name=by, door=state.door)
    if by.via in ("engine", "trusted"):
        return _Actor(name=by.subject, door=Door.ENGINE, session_id=by.session_id, namespace=by.namespace)
    # Of the two keys of a claimed attempt it is the claimer's that acts.
    claimed = by.claimed_key_id is not None
    return _Actor(
        name=f"{by.role}:{by.subject}",
        door=state.door,
        role=by.role.value,
        credential=by.jti,
        key_id=by.claimed_key_id if claimed else by.key_id,
        session_id=_session_of(state, by),
        namespace=by.namespace,
        dispatcher_key_id=by.key_id if claimed else None,
    )


def _names(state: State, key_id: str | None, namespace: int | None) -> tuple[str | None, str | None]:
    if key_id is None and not namespace:
        return None, None
    return _NAMES.query(state.db, of_key=key_id or "", of_namespace=namespace or 0)[0]


def _session_of(state: State, caller: Caller) -> str | None:
    """Return the session that the caller's credential descends from, if any."""
    found, jti = session_of(state, caller), caller.jti
    while found is None and jti is not None and (token := TOKENS.get(state.db, jti)) is not None:
        found, jti = token.session_id, token.parent_jti
    return found
