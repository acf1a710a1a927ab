"""API keys and minted tokens: create, list, and revoke them with everything that descends from them."""

from __future__ import annotations

import secrets
from dataclasses import dataclass
from datetime import timedelta

import sqlalchemy as sa

from app.domain.access import Caller, Role, Verb
from app.domain.clock import Instant
from app.domain.errors import (
    Cancelled,
    InvalidRequest,
    KeyNotFound,
    NameTaken,
    RoleViolation,
    Unauthenticated,
)
from app.domain.events import EventKind
from app.domain.ids import ALPHABET
from app.domain.names import check_name
from app.domain.namespaces import ALL_ID, DEFAULT_ID
from app.domain.tasks import Status
from app.domain.tokens import KEY_PREFIX, ApiKey, TokenRecord
from app.engine.ops import audit, held_ids, revoking
from app.engine.ops.access import lock_credential, require_no_cancelled_ancestor, revocation_of
from app.engine.ops.queries import lock_task, reaches
from app.state import schema
from app.state.state import State
from app.state.statements import Statement
from app.state.tables import API_KEYS, TOKENS

_K = schema.api_keys.c
_KEY_SHARE = Statement(sa.select(_K.revoked_at).where(_K.id == sa.bindparam("key_id")).with_for_update(read=True))
_BY_DIGEST = API_KEYS.search(_K.digest == sa.bindparam("digest"))
_BY_NAME = API_KEYS.search(_K.namespace == sa.bindparam("of_namespace"), _K.name == sa.bindparam("name"))
_ALL_KEYS = API_KEYS.search(order=(_K.id,))
_ROOTS = API_KEYS.search(_K.root == 1, _K.revoked_at.is_(None), order=(_K.id,))


def new_key_text() -> str:
    """Return the text of a fresh API key: 200 random bits."""
    return KEY_PREFIX + "".join(secrets.choice(ALPHABET) for _ in range(40))


def find_key(state: State, digest: str) -> ApiKey:
    """Return the valid key with this digest. Raises Unauthenticated."""
    key = _BY_DIGEST.first(state.db, digest=digest)
    if key is None:
        raise Unauthenticated("unknown key")
    if key.revoked_at is not None:
        raise Unauthenticated("revoked key")
    if key.expires_at is not None and key.expires_at <= state.now:
        raise Unauthenticated("expired key")
    return key


def lock_key(state: State, key: ApiKey) -> None:
    """Lock the key against revocation until this transaction ends. For whatever is attached or claimed with it.

    Without the lock a concurrent revocation could miss the session or claim. Raises Unauthenticated.
    """
    if state.db.dialect == "sqlite":
        return
    rows = _KEY_SHARE.query(state.db, key_id=key.id)
    if not rows or rows[0][0] is not None:
        raise Unauthenticated("revoked key")


def is_living(key: ApiKey, now: Instant) -> bool:
    """Return whether the key is neither revoked nor expired."""
    return key.revoked_at is None and (key.expires_at is None or key.expires_at > now)


def find_living(state: State, namespace: int, named: str) -> ApiKey:
    """Return the living key of a namespace with this id or name. Raises KeyNotFound."""
    found = [API_KEYS.get(state.db, named), *_BY_NAME.all(state.db, of_namespace=namespace, name=named)]
    for key in found:
        if key is not None and key.namespace == namespace and is_living(key, state.now):
            return key
    raise KeyNotFound(named)


def require_role(key: ApiKey, role: Role) -> None:
    """Raise RoleViolation unless the key may attach as the role."""
    if role not in key.role_set:
        raise RoleViolation("this API key", f"act as {role.value}")


def require_root(key: ApiKey) -> None:
    """Raise RoleViolation unless it is the root key."""
    if not key.root:
        raise RoleViolation("this API key", "manage keys (the root key may)")


def create_key(
    state: State,
    *,
    name: str,
    roles: frozenset[Role],
    digest: str,
    ttl: timedelta | None,
    root: bool = False,
    namespace: int = DEFAULT_ID,
    person: bool = False,
    email: str | None = None,
    by: ApiKey | str,
    id: str | None = None,
) -> ApiKey:
    """Record a new key, under this id if one is given. Raises InvalidName, NameTaken, InvalidRequest."""
    check_name(name, "name")
    if email is not None:
        check_name(email, "email")
    if not root and _has_living_key(state, namespace, name):
        raise NameTaken(name)
    if not roles:
        raise InvalidRequest("name at least one role", "roles")
    if ttl is not None and ttl <= timedelta(0):
        raise InvalidRequest("give more than 0 seconds, or leave it out", "ttl")
    key = ApiKey(
        id=id or state.ids.new("K"),
        name=name,
        roles=" ".join(sorted(roles)),
        digest=digest,
        root=root,
        created_at=state.now,
        expires_at=state.now + round(ttl.total_seconds() * 1000) if ttl else None,
        revoked_at=None,
        namespace=ALL_ID if root else namespace,
        person=person,
        email=email,
    )
    API_KEYS.insert(state.db, key)
    audit.record(
        state, by, "key_created", target=key.id, namespace=key.namespace, name=name, roles=key.roles, person=person
    )
    return key


def _has_living_key(state: State, namespace: int, name: str) -> bool:
    found = _BY_NAME.all(state.db, of_namespace=namespace, name=name)
    return any(is_living(key, state.now) for key in found)


def living_key(state: State, key_id: str) -> ApiKey:
    """Return a key. Raises KeyNotFound, also when it was revoked."""
    key = API_KEYS.get(state.db, key_id)
    if key is None or key.revoked_at is not None:
        raise KeyNotFound(key_id)
    return key


def renew_key_secret(state: State, key_id: str, digest: str, *, by: ApiKey) -> ApiKey:
    """Give a key that was created before a new secret, because the reply with the first one was lost.

    Raises KeyNotFound, also when the key was revoked since.
    """
    key = API_KEYS.lock(state.db, key_id)
    if key is None or key.revoked_at is not None:
        raise KeyNotFound(key_id)
    API_KEYS.update(state.db, key_id, digest=digest)
    audit.record(state, by, "key_renewed", target=key.id, namespace=key.namespace)
    return key


def ensure_root(state: State, digest: str) -> bool:
    """Make this the root key, and revoke one with another text. Returns False when it was the root key before."""
    known = False
    for key in _ROOTS.all(state.db):
        if key.digest == digest:
            known = True
        else:
            _revoke_key(state, key, by="configuration")
    if not known:
        _make_root(state, digest)
    return not known


def _make_root(state: State, digest: str) -> None:
    """Make the key with this digest root: create it, or restore the one that was known before."""
    before = _BY_DIGEST.first(state.db, digest=digest)
    if before is None:
        create_key(state, name="root", roles=frozenset(Role), digest=digest, ttl=None, root=True, by="server")
        return
    roles = " ".join(sorted(Role))
    granted = {"name": "root", "roles": roles, "root": True, "namespace": ALL_ID}
    API_KEYS.update(state.db, before.id, **granted, expires_at=None, revoked_at=None)
    audit.record(state, "configuration", "key_restored", target=before.id, name="root", roles=roles)


def has_root(state: State) -> bool:
    """Return whether a valid root key exists."""
    return bool(_ROOTS.all(state.db))


def list_keys(state: State) -> list[ApiKey]:
    """Return all keys, oldest first, revoked ones included."""
    return _ALL_KEYS.all(state.db)


def revoke_key(state: State, key_id: str, *, by: ApiKey | str) -> None:
    """Revoke a key; the sessions attached and the attempts claimed with it are left to `revoking`.

    Raises KeyNotFound; InvalidRequest for the last root key.
    """
    key = API_KEYS.lock(state.db, key_id)
    if key is None:
        raise KeyNotFound(key_id)
    if key.root and key.revoked_at is None:
        raise InvalidRequest("the root key is replaced by configuration (SWARMHOLD_ROOT_KEY), not revoked", "id")
    if key.revoked_at is None:
        _revoke_key(state, key, by=by)


def revoke_key_at_once(state: State, key_id: str, *, by: str) -> None:
    """Revoke a key with everything that descends from it in one transaction. Raises what `revoke_key` raises."""
    revoke_key(state, key_id, by=by)
    revoking.revoke_at_once(state, key_id)


def _revoke_key(state: State, key: ApiKey, *, by: ApiKey | str) -> None:
    API_KEYS.update(state.db, key.id, revoked_at=state.now)
    state.emit(EventKind.TOKEN_REVOKED, namespace=key.namespace, key_id=key.id, by=audit.name_of(by))
    audit.record(state, by, "key_revoked", target=key.id, namespace=key.namespace, name=key.name)
    state.wake(revocation_of(key.id))  # claims that wait with this key look again, and are refused
    held_ids.release_all(state, key.id)
    revoking.begin(state, key.id)


@dataclass(frozen=True, slots=True, kw_only=True)
class Mint:
    """The request for a new token."""

    agent_id: str
    role: Role
    ttl: timedelta
    max_uses: int | None
    scopes: frozenset[Verb] | None
    task_id: str | None


def mint(state: State, caller: Caller, caller_expires_at: int, asked: Mint) -> TokenRecord:
    """Mint a worker or observer token that descends from the caller's: no longer-lived and no wider than that one.

    Raises RoleViolation for other roles, TaskNotFound, Cancelled (a cancelled task gets no new credential),
    InvalidRequest.
    """
    if asked.role not in (Role.WORKER, Role.OBSERVER):
        raise RoleViolation(caller.role.value, f"mint a {asked.role.value} token (worker and observer only)")
    check_name(asked.agent_id, "agent_id")
    if asked.ttl <= timedelta(0):
        raise InvalidRequest("give more than 0 seconds", "ttl")
    if asked.max_uses is not None and asked.max_uses < 1:
        raise InvalidRequest("give 1 or more, or leave it out for no limit", "max_uses")
    lock_credential(state, caller)
    if asked.task_id is not None:
        _require_not_cancelled(state, caller, asked.task_id)
    scopes = asked.scopes
    if caller.scope is not None:
        scopes = caller.scope if scopes is None else scopes & caller.scope
    record = TokenRecord(
        jti=state.ids.new("W"),
        role=asked.role,
        subject=asked.agent_id,
        scope=" ".join(sorted(scopes)) if scopes is not None else None,
        parent_jti=caller.jti,
        task_id=asked.task_id if asked.role is Role.WORKER else None,
        session_id=None,
        issued_at=state.now,
        expires_at=min(state.now + round(asked.ttl.total_seconds() * 1000), caller_expires_at),
        max_uses=asked.max_uses,
        uses_left=asked.max_uses,
        revoked_at=None,
        namespace=caller.namespace,
        key_id=caller.key_id,
    )
    TOKENS.insert(state.db, record)
    audit.record(state, caller, "token_minted", target=record.jti, role=record.role.value, subject=record.subject)
    return record


def _require_not_cancelled(state: State, caller: Caller, task_id: str) -> None:
    task = lock_task(state, task_id, caller)
    if task.status is Status.CANCELLED:
        raise Cancelled(task_id)
    require_no_cancelled_ancestor(state, task)


def minted(state: State, jti: str) -> TokenRecord:
    """Return the record of a token that was minted before. Raises KeyNotFound, also when it was revoked since."""
    record = TOKENS.get(state.db, jti)
    # TokenRevoked would mean the caller's own token.
    if record is None or record.revoked_at is not None:
        raise KeyNotFound(jti)
    return record


def revoke(state: State, caller: Caller, jti: str) -> None:
    """Revoke a token; its descendants are left to `revoking`. Revoking twice is no error. Raises KeyNotFound."""
    record = TOKENS.lock(state.db, jti)
    if record is None or not reaches(caller, record.namespace):
        raise KeyNotFound(jti)
    if record.revoked_at is None:
        revoking.revoke_one(state, record)
        revoking.begin(state, jti)
        state.emit(
            EventKind.TOKEN_REVOKED,
            namespace=record.namespace,
            session_id=record.session_id,
            jti=jti,
            by=caller.subject,
        )
        audit.record(state, caller, "token_revoked", target=jti, namespace=record.namespace)


def is_revoked(state: State, jti: str | None) -> bool:
    """Return whether the token with this id was revoked."""
    record = TOKENS.get(state.db, jti) if jti is not None else None
    return record is not None and record.revoked_at is not None
