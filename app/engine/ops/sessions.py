"""Sessions: attach, heartbeat, detach, and detach those without heartbeats."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import sqlalchemy as sa

from app.domain.access import Caller, Role
from app.domain.errors import InvalidRequest, SessionNotFound
from app.domain.events import EventKind
from app.domain.json import Json
from app.domain.names import check_name, check_optional, check_session_label
from app.domain.namespaces import DEFAULT_ID
from app.domain.sessions import Session, SessionOptions
from app.domain.tokens import TokenRecord
from app.engine.ops import audit, cancelling, held_ids
from app.engine.ops.access import session_of
from app.state import schema
from app.state.state import State
from app.state.tables import SESSIONS, TOKENS

_S = schema.sessions.c
LONGEST_TTL = timedelta(days=3650)
_UNRESPONSIVE = SESSIONS.search(
    _S.attached == 1, _S.last_seen < sa.bindparam("before"), order=(_S.last_seen,), limit=True
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Attach:
    """The request for a new session."""

    operator_id: str
    role: Role
    ttl: timedelta
    options: SessionOptions
    namespace: int = DEFAULT_ID
    key_id: str | None = None
    parent: str | None = None
    expires_at: int | None = None
    """When its parent token expires; the session never outlives it."""
    root: bool = False
    """Whether it is attached by the root key, which alone may call itself `root`."""


def attach(state: State, asked: Attach) -> tuple[Session, TokenRecord]:
    """Create a session, and the record of the token that is bound to it.

    Raises InvalidName, InvalidRequest, and IdTaken for an id of a bridge, hook or backend that another key owns.
    """
    _check_names(asked)
    if not timedelta(0) < asked.ttl <= LONGEST_TTL:
        raise InvalidRequest(f"give more than 0 and at most {LONGEST_TTL.total_seconds():.0f} s", "ttl")
    if asked.role is Role.WORKER:
        raise InvalidRequest("a worker gets a handle or a minted token; it does not attach", "role")
    for id in {asked.options.bridge_id, asked.options.hook_id, asked.options.operator_backend_id} - {None}:
        held_ids.hold(state, asked.namespace, id or "", asked.key_id)
    expires_at = state.now + round(asked.ttl.total_seconds() * 1000)
    if asked.expires_at is not None:
        expires_at = min(expires_at, asked.expires_at)
    session = _session(state, asked, expires_at)
    record = TokenRecord(
        jti=session.jti,
        role=asked.role,
        subject=asked.operator_id,
        scope=None,
        parent_jti=asked.parent,
        task_id=None,
        session_id=session.id,
        issued_at=state.now,
        expires_at=expires_at,
        max_uses=None,
        uses_left=None,
        revoked_at=None,
        namespace=asked.namespace,
        key_id=asked.key_id,
    )
    SESSIONS.insert(state.db, session)
    TOKENS.insert(state.db, record)
    _tell(state, session, EventKind.SESSION_ATTACHED, role=session.role)
    audit.record(state, _attacher(session, asked), "session_attached", target=session.id)
    return session, record


def _check_names(asked: Attach) -> None:
    check_session_label(asked.operator_id, root=asked.root)
    options = asked.options
    for field in ("bridge_id", "hook_id", "operator_backend_id"):
        check_optional(getattr(options, field), field)
    for field in ("operator_kind_overrides", "bp_agent_kinds"):
        for agent in getattr(options, field) or ():
            check_name(agent, field)


def _attacher(session: Session, asked: Attach) -> Caller:
    """Return who the session is for: the audit log names it, since the key alone says nothing of role and label."""
    return Caller(
        role=asked.role,
        subject=asked.operator_id,
        via="trusted" if asked.key_id is None else "token",
        namespace=session.namespace,
        key_id=asked.key_id,
        jti=asked.parent,
        session_id=session.id,
    )


def _session(state: State, asked: Attach, expires_at: int) -> Session:
    options = asked.options
    return Session(
        id=state.ids.session(),
        operator_id=asked.operator_id,
        role=asked.role,
        jti=state.ids.new("W"),
        kind=options.kind,
        bridge_id=options.bridge_id,
        hook_id=options.hook_id,
        operator_backend_id=options.operator_backend_id,
        operator_kind_overrides=Json.of(dict(options.operator_kind_overrides or {})),
        bp_agent_kinds=Json.of(dict(options.bp_agent_kinds or {})),
        bp_global_kind=options.bp_global_kind,
        rebuildable=options.rebuildable,
        attached=True,
        attached_at=state.now,
        detached_at=None,
        last_seen=state.now,
        expires_at=expires_at,
        namespace=asked.namespace,
        key_id=asked.key_id,
        quiet=options.quiet,
    )


def attached(state: State, session_id: str) -> tuple[Session, TokenRecord]:
    """Return a session that was attached before, with its token's record. Raises SessionNotFound."""
    session = SESSIONS.get(state.db, session_id)
    record = TOKENS.get(state.db, session.jti) if session else None
    if session is None or record is None:
        raise SessionNotFound(session_id)
    return session, record


def lock_own(state: State, caller: Caller) -> Session:
    """Return the caller's own session, locked. Raises SessionNotFound."""
    session_id = session_of(state, caller) if caller.attempt is None else None
    session = SESSIONS.lock(state.db, session_id) if session_id else None
    if session is None:
        raise SessionNotFound
    return session


def heartbeat(state: State, caller: Caller) -> None:
    """Record a heartbeat; a detached session is attached again."""
    session = lock_own(state, caller)
    changes: dict[str, Any] = {"last_seen": max(session.last_seen, state.now)}
    if not session.attached:
        changes |= {"attached": True, "attached_at": state.now, "detached_at": None}
        _tell(state, session, EventKind.SESSION_ATTACHED, again=True)
    SESSIONS.update(state.db, session.id, **changes)


def detach(state: State, caller: Caller) -> None:
    """Mark the caller's session detached; its tasks stay. Detaching twice is no error."""
    session = lock_own(state, caller)
    if session.attached:
        audit.record(state, caller, "session_detached", target=session.id)
    _detach(state, session, "asked")


def detach_revoked(state: State, session_id: str) -> None:
    """Mark a session detached whose token was revoked; it cannot be attached again."""
    session = SESSIONS.lock(state.db, session_id)
    if session is not None:
        _detach(state, session, "revoked")


def detach_left(state: State, caller: Caller) -> None:
    """Mark the caller's session detached after its client left, if it is a quiet one. A heartbeat attaches it again."""
    session = SESSIONS.lock(state.db, caller.session_id) if caller.session_id else None
    if session is not None and session.quiet and session.jti == caller.jti:
        _detach(state, session, "left")


def _detach(state: State, session: Session, why: str) -> None:
    if session.attached:
        SESSIONS.update(state.db, session.id, attached=False, detached_at=state.now)
        _tell(state, session, EventKind.SESSION_DETACHED, why=why)


def _tell(state: State, session: Session, kind: EventKind, **data: Any) -> None:
    """Append an event of the session, unless it is a quiet one."""
    if not session.quiet:
        who = session.operator_id
        state.emit(kind, namespace=session.namespace, session_id=session.id, operator_id=who, **data)


def detach_unresponsive(state: State, before: int, limit: int, *, keep_tasks: bool = True) -> int:
    """Detach sessions without a heartbeat since `before`, and return how many. Their tasks stay, or are cancelled."""
    unresponsive = _UNRESPONSIVE.all(state.db, before=before, limit=limit)
    for found in unresponsive:
        session = SESSIONS.lock(state.db, found.id)
        if session is not None and session.attached and session.last_seen < before:
            _detach(state, session, "missed heartbeats")
            if not keep_tasks:
                cancelling.cancel_tasks_of(state, session.id)
    return len(unresponsive)
