"""Retention: the deletion of old rows, in batches small enough to run beside everything else.

A task is deleted when it has been finished for long enough, has no child tasks left, and its parent is settled: a tree
is deleted from its leaves up, and a parent that still works finds its children. Its labels, attempts, outputs, usage,
late results and questions are deleted with it; credentials, events and the audit log have retention periods of their
own.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import Any, cast

import sqlalchemy as sa

from app.domain.handles import first_digest_of
from app.state import audit_log, schema, task_words
from app.state.policies import RetentionPolicy
from app.state.state import State
from app.state.statements import Statement

_T, _A, _H, _K = schema.tasks.c, schema.attempts.c, schema.handles.c, schema.tokens.c
_S, _I, _E, _O = schema.sessions.c, schema.idempotency.c, schema.events.c, schema.outputs.c

_CHILD = sa.alias(schema.tasks, "child")
_PARENT = sa.alias(schema.tasks, "parent")
_DESCENDANT = sa.alias(schema.tokens, "descendant")


def _parameter(name: str) -> Any:
    return cast(Any, sa.bindparam(name))


_BEFORE, _LIMIT, _NAMED = _parameter("before"), _parameter("limit"), _parameter("named")

OUTPUTS_AT_ONCE = 1_000
"""How many outputs of a task one batch deletes; a task with more of them takes several batches."""


def sweep(state: State, policy: RetentionPolicy, *, limit: int = 100) -> int:
    """Delete one batch of at most about `limit` rows of each kind, and return how many.

    Call it again, each time in a new transaction, until it returns 0.
    """
    before = Cutoffs.of(policy, state.now)
    removed = remove_tasks(state, "pass", before.finished, limit=limit)
    removed += remove_tasks(state, "cancelled", before.finished, limit=limit)
    removed += remove_tasks(state, "blocked", before.blocked, limit=limit)
    removed += remove_handles(state, before.credentials, limit=limit)
    removed += remove_tokens(state, before.credentials, limit=limit)
    removed += remove_sessions(state, before.sessions, limit=limit)
    removed += remove_idempotency(state, before.idempotency, limit=limit)
    if before.audit is not None:
        removed += audit_log.remove(state.db, state.require_seal(), before.audit, limit=limit)
    return removed + remove_events(state, before.events, limit=limit)


@dataclass(frozen=True, slots=True, kw_only=True)
class Cutoffs:
    """A policy at one instant: rows that ended before these instants are deleted; None deletes nothing."""

    finished: int | None
    blocked: int | None
    events: int | None
    credentials: int | None
    sessions: int | None
    idempotency: int | None
    audit: int | None

    @classmethod
    def of(cls, policy: RetentionPolicy, now: int) -> Cutoffs:
        """Return the cutoffs of a policy at the instant `now`."""

        def at(age: timedelta | None) -> int | None:
            return None if age is None else now - round(age.total_seconds() * 1000)

        return cls(
            finished=at(policy.finished),
            blocked=at(policy.blocked),
            events=at(policy.events),
            credentials=at(policy.credentials),
            sessions=at(policy.sessions),
            idempotency=at(policy.idempotency),
            audit=at(policy.audit),
        )


# Partial indexes serve only conditions that are written out.
_SETTLED = {
    status: Statement(
        sa.select(_T.id)
        .where(
            sa.text(f"tasks.status = '{status}' AND tasks.settled_at IS NOT NULL"),
            _T.settled_at <= _BEFORE,
            _T.live == sa.text("0"),
            _T.open_questions == sa.text("0"),
            ~sa.exists().where(_CHILD.c.parent_task_id == _T.id),
            ~sa.exists().where(_PARENT.c.id == _T.parent_task_id, _PARENT.c.settled_at.is_(None)),
            ~sa.exists().where(_A.task_id == _T.id, _A.phase != sa.text("'ended'")),
        )
        .order_by(_T.settled_at)
        .limit(_LIMIT)
        .with_for_update(of=schema.tasks, skip_locked=True)
    )
    for status in ("pass", "cancelled", "blocked")
}
_SOME_OUTPUTS = Statement(
    sa.select(_O.attempt, _O.seq).where(_O.task_id == _NAMED).order_by(_O.attempt, _O.seq).limit(_LIMIT)
)
_REMOVE_OUTPUTS = Statement(
    sa.delete(schema.outputs).where(
        _O.task_id == _NAMED,
        sa.or_(
            _O.attempt < sa.bindparam("last_attempt"),
            sa.and_(_O.attempt == sa.bindparam("last_attempt"), _O.seq <= sa.bindparam("last_seq")),
        ),
    )
)
_REMOVE_WITH_TASK = tuple(
    Statement(sa.delete(table).where(table.c.task_id == _NAMED))
    for table in (
        schema.late_results,
        schema.answer_links,
        schema.webhook_messages,
        schema.questions,
        schema.usage,
        schema.attempts,
        schema.task_labels,
    )
)
_REMOVE_TASK = Statement(sa.delete(schema.tasks).where(_T.id == _NAMED))
_RELEASE_KEYS = Statement(
    sa.update(schema.idempotency).where(_I.task_id == _NAMED).values(task_id=sa.null(), created_at=_parameter("now"))
)


def remove_tasks(state: State, status: str, before: int | None, *, limit: int) -> int:
    """Delete tasks that reached a status before an instant; return how many, including a partly deleted one."""
    if before is None:
        return 0
    found = _SETTLED[status].query(state.db, before=before, limit=limit)
    room = OUTPUTS_AT_ONCE
    for count, (task_id,) in enumerate(found, start=1):
        room -= _remove_outputs(state, task_id, room)
        if room <= 0:
            return count
        for statement in (*_REMOVE_WITH_TASK, _REMOVE_TASK):
            statement.change(state.db, named=task_id)
        _RELEASE_KEYS.change(state.db, named=task_id, now=state.now)
        task_words.remove(state.db, task_id)
    return len(found)


def _remove_outputs(state: State, task_id: str, room: int) -> int:
    """Delete the oldest outputs of a task, at most `room`; return how many."""
    found = _SOME_OUTPUTS.query(state.db, named=task_id, limit=room)
    if found:
        attempt, seq = found[-1]
        _REMOVE_OUTPUTS.change(state.db, named=task_id, last_attempt=attempt, last_seq=seq)
    return len(found)


_NO_ATTEMPT = ~sa.exists().where(
    _A.task_id == _H.task_id,
    _A.attempt == _H.attempt,
    sa.or_(_A.ended_at.is_(None), _A.ended_at > _BEFORE),
)
_OLD_HANDLES = Statement(
    sa.select(_H.digest)
    .where(_H.digest >= first_digest_of(0), _H.digest < _parameter("end"), _NO_ATTEMPT)
    .order_by(_H.digest)
    .limit(_LIMIT)
)
_OLD_UNTIMED_HANDLES = Statement(
    sa.select(_H.digest)
    .where(sa.text("length(digest) = 64"), _H.created_at <= _BEFORE, _NO_ATTEMPT)
    .order_by(_H.created_at)
    .limit(_LIMIT)
)
_REMOVE_HANDLE = Statement(sa.delete(schema.handles).where(_H.digest == _NAMED))


def remove_handles(state: State, before: int | None, *, limit: int) -> int:
    """Delete the handles of attempts that ended before an instant, or are gone; from then on they are unknown."""
    if before is None:
        return 0
    end = first_digest_of(max(0, before + 1))
    return _remove_each(state, _OLD_HANDLES, _REMOVE_HANDLE, before, limit, end=end) + _remove_each(
        state, _OLD_UNTIMED_HANDLES, _REMOVE_HANDLE, before, limit
    )


_OLD_TOKENS = Statement(
    sa.select(_K.jti)
    .where(
        _K.expires_at <= _BEFORE,
        # Revoking a token reaches its descendants through the rows in between.
        ~sa.exists().where(_DESCENDANT.c.parent_jti == _K.jti),
        ~sa.exists().where(_A.parent_jti == _K.jti, sa.text("attempts.phase <> 'ended'")),
    )
    .order_by(_K.expires_at)
    .limit(_LIMIT)
)
_REMOVE_TOKEN = Statement(sa.delete(schema.tokens).where(_K.jti == _NAMED))


def remove_tokens(state: State, before: int | None, *, limit: int) -> int:
    """Delete tokens that expired before an instant and are the parent of no token or live attempt."""
    return _remove_each(state, _OLD_TOKENS, _REMOVE_TOKEN, before, limit)


_OLD_SESSIONS = Statement(
    sa.select(_S.id)
    .where(_S.expires_at <= _BEFORE, ~sa.exists().where(_T.session_id == _S.id))
    .order_by(_S.expires_at)
    .limit(_LIMIT)
)
_REMOVE_SESSION = Statement(sa.delete(schema.sessions).where(_S.id == _NAMED))


def remove_sessions(state: State, before: int | None, *, limit: int) -> int:
    """Delete sessions that expired before an instant and have no tasks left."""
    return _remove_each(state, _OLD_SESSIONS, _REMOVE_SESSION, before, limit)


_OLD_KEYS = Statement(
    sa.select(_I.created_at).where(_I.task_id.is_(None), _I.created_at <= _BEFORE).order_by(_I.created_at).limit(_LIMIT)
)
_REMOVE_KEYS = Statement(sa.delete(schema.idempotency).where(_I.task_id.is_(None), _I.created_at <= _BEFORE))


def remove_idempotency(state: State, before: int | None, *, limit: int) -> int:
    """Delete idempotency keys that were used before an instant, or whose task was deleted before it."""
    if before is None:
        return 0
    found = _OLD_KEYS.query(state.db, before=before, limit=limit)
    return _REMOVE_KEYS.change(state.db, before=found[-1][0]) if found else 0


_FIRST_EVENTS = Statement(sa.select(_E.cursor, _E.at).where(_E.cursor > sa.text("0")).order_by(_E.cursor).limit(_LIMIT))
_REMOVE_EVENTS = Statement(sa.delete(schema.events).where(_E.cursor <= _BEFORE))


def remove_events(state: State, before: int | None, *, limit: int) -> int:
    """Delete the oldest events, up to the first that is younger than an instant."""
    if before is None:
        return 0
    last: int | None = None
    for cursor, at in _FIRST_EVENTS.query(state.db, limit=limit):
        if at > before:
            break
        last = cursor
    return 0 if last is None else _REMOVE_EVENTS.change(state.db, before=last)


def _remove_each(state: State, old: Statement, remove: Statement, before: int | None, limit: int, **values: Any) -> int:
    if before is None:
        return 0
    found: list[tuple[Any, ...]] = old.query(state.db, before=before, limit=limit, **values)
    for (name,) in found:
        remove.change(state.db, named=name)
    return len(found)
