"""Check credentials on the server's side, inside the transaction of the call that they authorize.

Signature, expiry and role × verb need no state and are checked before; the token's record, its uses and the ownership
of the task are checked here, so that revoking and spending are atomic with the work.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import sqlalchemy as sa

from app.domain.access import Caller, Role, Verb, read_scope
from app.domain.attempts import Attempt, Phase, Reason
from app.domain.delegation import OWN_TASK
from app.domain.errors import (
    AttemptSuperseded,
    Cancelled,
    NotStarted,
    RoleViolation,
    TokenExpired,
    TokenNotFound,
    TokenRevoked,
    TokenTaskMismatch,
    TokenUsesExhausted,
)
from app.domain.handles import key_of, untimed
from app.domain.namespaces import ALL_ID
from app.domain.tasks import Status, Task
from app.domain.tokens import Claims
from app.engine.ops import leases
from app.engine.ops.queries import learn_names, lock_task, require_task
from app.state import schema
from app.state.rows import maker
from app.state.state import State
from app.state.statements import Statement
from app.state.tables import ATTEMPTS, SESSIONS, TASKS, TOKENS

READY = frozenset({Phase.SPAWNING, Phase.RUNNING})
"""Phases in which a worker may act."""

_NO_KEYS = frozenset[str]()
_caller = maker(Caller)

ALLOWED_ON_DESCENDANTS = frozenset({Verb.READ_TASK_STATE, Verb.POLL_TASK, Verb.CANCEL_TASK})
"""What a worker may do to descendants of its own task, if its scope has the verb."""

_H, _T = schema.handles.c, schema.tokens.c
_LOCK_BY_HANDLE = Statement(
    sa.select(schema.tasks.c.id)
    .where(schema.tasks.c.id == sa.select(_H.task_id).where(_H.digest == sa.bindparam("key")).scalar_subquery())
    .with_for_update()
)
# Names without their table's where that is possible: the driver hashes the whole statement at each execution.
_AMBIGUOUS = {*TASKS.codec.names, "digest"} & {*ATTEMPTS.codec.names, "created_at"} | {"task_id"}
_TASK_AND_ATTEMPT: list[sa.ColumnElement[Any]] = [
    column if column.name in _AMBIGUOUS else sa.column(column.name) for column in (*schema.tasks.c, *schema.attempts.c)
]
_TASK_COLUMNS = len(TASKS.codec.names)
_ROWS_BY_HANDLE = Statement(
    sa.select(*map(TASKS.read, _TASK_AND_ATTEMPT[:_TASK_COLUMNS]), *_TASK_AND_ATTEMPT[_TASK_COLUMNS:]).where(
        _H.digest == sa.bindparam("key"),
        schema.tasks.c.id == _H.task_id,
        schema.attempts.c.task_id == _H.task_id,
        schema.attempts.c.attempt == _H.attempt,
    )
)
_SPEND = Statement(
    sa.update(schema.tokens).where(_T.jti == sa.bindparam("key"), _T.uses_left > 0).values(uses_left=_T.uses_left - 1)
)
_SHARE = Statement(sa.select(_T.revoked_at).where(_T.jti == sa.bindparam("key")).with_for_update(read=True))
_SHARED_RECORD = TOKENS.search(_T.jti == sa.bindparam("key"), share=True)
_SESSION_OF = SESSIONS.search(schema.sessions.c.jti == sa.bindparam("jti"))


@dataclass(frozen=True, slots=True)
class Digest:
    """A handle by its keyed digest, with the verbs of which its attempt's scope has to include one."""

    text: str
    verbs: Verb | Sequence[Verb] = ()


Presented = Claims | Digest
"""A credential that passed the checks that need no state."""


class WorkerRows(NamedTuple):
    """A worker as the caller, with the task and the attempt that its credential is bound to."""

    caller: Caller
    task: Task
    attempt: Attempt


def revocation_of(jti: str | None) -> str:
    """Return the topic that is woken when this credential is revoked."""
    return f"revoked:{jti}"


def authenticate(state: State, presented: Presented, *, consume: bool = True, lock: bool = False) -> Caller:
    """Return the caller of a credential. Raises TokenNotFound, TokenRevoked, TokenUsesExhausted, TokenExpired.

    `lock` locks a token's record against revocation until this transaction ends. A worker's credential of an ended
    attempt is valid here: which conflict it gets depends on its request.
    """
    if isinstance(presented, Digest):
        return _rows_by_handle(state, presented, lock=False).caller
    if presented.attempt is not None and presented.task_id is not None:
        return _authenticate_attempt_token(state, presented, presented.task_id, presented.attempt)
    if lock and state.db.dialect != "sqlite":
        record, state.locked_jti = _SHARED_RECORD.first(state.db, key=presented.jti), presented.jti
    else:
        record = TOKENS.get(state.db, presented.jti)
    if record is None:
        raise TokenNotFound
    if record.revoked_at is not None:
        raise TokenRevoked
    # The token's own `exp` is whole seconds, rounded up (RFC 7519, section 2); its record has the exact instant.
    if record.expires_at <= state.now:
        raise TokenExpired
    if record.uses_left is not None and consume and not _SPEND.change(state.db, key=record.jti):
        raise TokenUsesExhausted
    if record.namespace not in state.names:
        learn_names(state, record.namespace)
    return _caller(
        record.role,
        record.subject,
        "token",
        record.namespace,
        key_id=record.key_id,
        jti=record.jti,
        session_id=record.session_id,
        task_id=record.task_id,
        scope=presented.scope,
        expires_at=record.expires_at,
    )


def _rows_by_handle(state: State, presented: Digest, *, lock: bool) -> WorkerRows:
    """Return the handle's caller, task and attempt, read under the task's lock if `lock`."""
    if lock and state.db.dialect != "sqlite":
        _by_digest(state, _LOCK_BY_HANDLE, presented.text)
    # Behind the lock: a statement that waits for one row may show the others as they were before.
    rows = _by_digest(state, _ROWS_BY_HANDLE, presented.text)
    if not rows:
        raise TokenNotFound
    task, attempt = TASKS.codec.decode(rows[0][:_TASK_COLUMNS]), ATTEMPTS.codec.decode(rows[0][_TASK_COLUMNS:])
    if task.trace is not None:
        state.carry_trace(task.id, task.trace)
    caller = _bound(state, attempt, "handle")
    if caller.scope is not None:
        _check_scope(caller.scope | OWN_TASK, presented.verbs)
    return WorkerRows(caller, task, attempt)


def _by_digest(state: State, statement: Statement, digest: str) -> list[tuple[Any, ...]]:
    """Return the rows that a handle's digest finds."""
    found = statement.query(state.db, key=key_of(digest))
    if not found and (former := untimed(digest)) is not None:
        return statement.query(state.db, key=former)
    return found


def _check_scope(scope: frozenset[Verb], verbs: Verb | Sequence[Verb]) -> None:
    wanted = (verbs,) if isinstance(verbs, Verb) else verbs
    if wanted and scope.isdisjoint(wanted):
        raise RoleViolation(Role.WORKER.value, wanted[0].value)


def authenticate_worker(
    state: State, presented: Presented, *, lock: bool = True, attempt: int | None = None
) -> WorkerRows:
    """Authenticate a worker and return the rows that its credential is bound to; `lock` locks the task.

    Raises what `authenticate` and `bound_rows` raise.
    """
    if isinstance(presented, Digest):
        found = _rows_by_handle(state, presented, lock=lock)
        if attempt is not None and attempt != found.attempt.attempt:
            raise TokenTaskMismatch(found.task.id)
        return found
    caller = authenticate(state, presented)
    if caller.role is not Role.WORKER:
        raise TokenTaskMismatch(None)
    return bound_rows(state, caller, lock=lock, attempt=attempt)


def require_same_task(state: State, found: WorkerRows, task_id: str | None, verb: Verb) -> None:
    """Raise TokenTaskMismatch when a worker names a task that is not its own (TaskNotFound when there is none)."""
    if task_id is not None and task_id != found.task.id:
        require_access(state, found.caller, task_id, verb)
        raise TokenTaskMismatch(task_id)


def _authenticate_attempt_token(state: State, claims: Claims, task_id: str, number: int) -> Caller:
    attempt = ATTEMPTS.get(state.db, task_id, number)
    if attempt is None or attempt.jti != claims.jti:
        raise TokenNotFound
    return _bound(state, attempt, "token")


def _bound(state: State, attempt: Attempt, via: str) -> Caller:
    if attempt.reason is Reason.REVOKED:
        raise TokenRevoked
    if attempt.is_live and attempt.paused_at is None and attempt.handle_expires_at <= state.now:
        raise TokenExpired
    if attempt.is_live and attempt.credential_ends_at is not None and attempt.credential_ends_at <= state.now:
        raise TokenExpired  # it does not stand still
    if attempt.namespace not in state.names:
        learn_names(state, attempt.namespace)
    return _caller(
        Role.WORKER,
        attempt.worker_id or f"{attempt.task_id}#{attempt.attempt}",
        via,
        attempt.namespace,
        key_id=attempt.key_id,
        claimed_key_id=attempt.claimed_key_id,
        further_keys=frozenset(attempt.further_keys.split()) if attempt.further_keys else _NO_KEYS,
        jti=attempt.jti,
        session_id=attempt.session_id,
        task_id=attempt.task_id,
        attempt=attempt.attempt,
        scope=read_scope(attempt.scope),
        ready=attempt.phase in READY,
        expires_at=attempt.credential_ends_at,
        lease_ms=attempt.lease_ms,
        last_seen_at=leases.last_heartbeat(attempt),
    )


def require_ready(state: State, caller: Caller) -> None:
    """Raise the conflict of a worker whose attempt is over or has not begun."""
    if not caller.ready:
        require_live(bound_rows(state, caller, lock=False))


def lock_credential(state: State, caller: Caller) -> None:
    """Lock the caller's token against revocation until this transaction ends. For whatever mints a descendant of it.

    Without the lock a concurrent revocation could miss the new credential. Raises TokenRevoked.
    """
    if caller.via == "token" and caller.attempt is None:
        lock_record(state, caller.jti)


def lock_record(state: State, jti: str | None) -> None:
    """Lock a token's record against revocation until this transaction ends. Raises TokenRevoked.

    An attempt's own token has no record. SQLite runs one transaction at a time and needs no lock.
    """
    if jti is None or jti == state.locked_jti or state.db.dialect == "sqlite":
        return
    rows = _SHARE.query(state.db, key=jti)
    if rows and rows[0][0] is not None:
        raise TokenRevoked


def require_access(state: State, caller: Caller, task_id: str, verb: Verb) -> None:
    """Raise unless the caller may use the verb on the task: workers on their own alone, other roles on any in reach.

    Of the other roles nothing is looked up here: what reads or locks the task then takes the caller too.

    Raises TokenTaskMismatch, TaskNotFound, and the conflict of a worker whose attempt is over or has not begun.
    """
    if caller.role is not Role.WORKER:
        return
    if caller.task_id is None:
        raise TokenTaskMismatch(None)
    require_ready(state, caller)
    if verb is Verb.DISPATCH_ATTEMPT:
        _require_child(state, caller, task_id)
    elif caller.task_id != task_id and not (
        verb in ALLOWED_ON_DESCENDANTS
        and (caller.scope is None or verb in caller.scope)
        and descends_from(state, task_id, caller.task_id)
    ):
        require_task(state, task_id, caller)
        raise TokenTaskMismatch(task_id)


def _require_child(state: State, caller: Caller, task_id: str) -> None:
    task = require_task(state, task_id, caller)
    if task.parent_task_id != caller.task_id:
        raise TokenTaskMismatch(task_id)


def descends_from(state: State, task_id: str, ancestor_id: str) -> bool:
    """Return whether the task was spawned under the ancestor, at any depth."""
    task = TASKS.get(state.db, task_id)
    while task is not None and task.parent_task_id is not None:
        if task.parent_task_id == ancestor_id:
            return True
        task = TASKS.get(state.db, task.parent_task_id)
    return False


def require_no_cancelled_ancestor(state: State, task: Task) -> None:
    """Raise Cancelled if an ancestor of the task was cancelled: nothing starts under it any more."""
    parent_id = task.parent_task_id
    while parent_id is not None and (parent := TASKS.get(state.db, parent_id)) is not None:
        if parent.status is Status.CANCELLED:
            raise Cancelled(parent.id)
        parent_id = parent.parent_task_id


def bound_rows(state: State, caller: Caller, *, lock: bool = True, attempt: int | None = None) -> WorkerRows:
    """Return the task and attempt that a worker's credential is bound to; a minted token means the latest attempt.

    Raises TokenTaskMismatch when it is bound to no task or to another attempt, NotStarted before the first attempt.
    """
    if caller.task_id is None:
        raise TokenTaskMismatch(None)
    task = lock_task(state, caller.task_id, caller) if lock else require_task(state, caller.task_id, caller)
    number = caller.attempt if caller.attempt is not None else attempt or task.attempt
    if attempt is not None and attempt != number:
        raise TokenTaskMismatch(task.id)
    row = ATTEMPTS.get(state.db, task.id, number)
    if row is None:
        raise NotStarted(task.id, number)
    return WorkerRows(caller, task, row)


def trusted_rows(state: State, task_id: str, attempt: int | None, *, lock: bool = True) -> WorkerRows:
    """Return the rows of an attempt (None: the latest) for code of this process that has resolved a handle to it.

    The handle's life is checked again, in the transaction of the work. Raises TokenExpired, TokenRevoked,
    TaskNotFound, NotStarted.
    """
    caller = Caller(
        role=Role.WORKER, subject="trusted", via="trusted", namespace=ALL_ID, task_id=task_id, attempt=attempt
    )
    found = bound_rows(state, caller, lock=lock)
    return WorkerRows(_bound(state, found.attempt, "trusted"), found.task, found.attempt)


def require_live(worker: WorkerRows) -> None:
    """Raise unless the worker may act: NotStarted before the attempt begins, a conflict after its end."""
    if worker.attempt.is_live:
        if worker.attempt.phase in (Phase.WAITING, Phase.QUEUED):
            raise NotStarted(worker.task.id, worker.attempt.attempt)
        if worker.attempt.phase is Phase.HELD:
            raise AttemptSuperseded(worker.task.id, worker.attempt.attempt, "its final result is with a senior")
        return
    if worker.task.status is Status.CANCELLED or worker.attempt.reason is Reason.CANCELLED:
        raise Cancelled(worker.task.id)
    raise AttemptSuperseded(worker.task.id, worker.attempt.attempt, ended_because(worker.attempt))


def ended_because(attempt: Attempt) -> str:
    """Return the reason of an ended attempt as text."""
    return attempt.reason.value if attempt.reason is not None else "ended"


def session_of(state: State, caller: Caller) -> str | None:
    """Return the id of the session that the caller acts in, if any."""
    if caller.session_id is not None or caller.jti is None:
        return caller.session_id
    session = _SESSION_OF.first(state.db, jti=caller.jti)
    return session.id if session is not None else None
