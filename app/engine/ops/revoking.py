"""Revoke what descends from a revoked key or token, in batches that hold the store briefly.

The key or token itself is revoked at once: nothing is attached, minted, dispatched or claimed with it any more. A mark
stays in the database until the last credential below it is revoked, so that another server process can go on where this
one stopped. What a descendant mints or dispatches before its own turn comes is found by looking again.
"""

from __future__ import annotations

from typing import NamedTuple

import sqlalchemy as sa

from app.domain.access import ENGINE
from app.domain.attempts import LIVE, Phase, Reason
from app.domain.tasks import Status
from app.domain.tokens import TokenRecord
from app.engine.ops import cancelling, sessions
from app.engine.ops.access import revocation_of
from app.engine.ops.queries import lock_task
from app.engine.ops.settling import fail_attempt, lose_attempt
from app.state import schema
from app.state.state import State
from app.state.statements import Statement
from app.state.tables import ATTEMPTS, TOKENS, delete_meta, get_meta, list_meta, set_meta

BATCH = 25
"""How many credentials one transaction revokes at most."""

_MARK = "revoking:"
_T, _A = schema.tokens.c, schema.attempts.c
_MINTED_BY = TOKENS.search(_T.parent_jti == sa.bindparam("parent"), _T.revoked_at.is_(None))
_ROOT: sa.BindParameter[str] = sa.bindparam("root", type_=sa.Text)
_OPEN = sa.text("attempts.phase <> 'ended'")


class Credential(NamedTuple):
    """A token by its `jti`, or what the worker of an attempt holds; `claimed` with a key that may not act any more."""

    jti: str
    task_id: str = ""
    attempt: int = 0
    claimed: bool = False


def _below() -> sa.CTE:
    """Return the tokens that descend from a key or token."""
    below = sa.select(_T.jti).where(_T.parent_jti == _ROOT).cte("below", recursive=True)
    return below.union_all(sa.select(_T.jti).where(_T.parent_jti == below.c.jti))


def _tokens_below() -> Statement:
    below = _below()
    return Statement(sa.select(_T.jti).where(_T.jti == below.c.jti, _T.revoked_at.is_(None)))


def _attempts_below() -> Statement:
    below, live = _below(), _A.phase.in_([phase.value for phase in sorted(LIVE)])
    found = sa.select(_A.task_id, _A.attempt).where(_OPEN, live)
    return Statement(found.where(_A.parent_jti == _ROOT).union_all(found.where(_A.parent_jti == below.c.jti)))


_TOKENS_BELOW, _ATTEMPTS_BELOW = _tokens_below(), _attempts_below()
_CLAIMED_WITH = Statement(
    sa.select(_A.task_id, _A.attempt).where(
        _OPEN, _A.queue.is_not(None), _A.phase == Phase.RUNNING.value, _A.claimed_key_id == _ROOT
    )
)


def begin(state: State, id: str) -> None:
    """Mark a key or token that this transaction has revoked: the credentials below it are still to be revoked."""
    set_meta(state.db, _MARK + id, str(state.now))
    state.wake(cancelling.TOPIC)


def mark_of(id: str) -> str:
    """Return the name of the setting that stands in the database while there is something left to do."""
    return _MARK + id


def unfinished(state: State) -> list[str]:
    """Return the revoked keys and tokens below which credentials are still to be revoked."""
    return [name.removeprefix(_MARK) for name in list_meta(state.db, _MARK)]


def left_below(state: State, id: str) -> list[Credential] | None:
    """Return the credentials below a marked key or token that are not revoked yet; None when all is done.

    Tokens come first, since they mint and dispatch.
    """
    if get_meta(state.db, _MARK + id) is None:
        return None
    found = [Credential(row[0]) for row in _TOKENS_BELOW.query(state.db, root=id)]
    found += [Credential("", *row) for row in _ATTEMPTS_BELOW.query(state.db, root=id)]
    dispatched = {credential[1:3] for credential in found}
    claimed = (Credential("", *row, claimed=True) for row in _CLAIMED_WITH.query(state.db, root=id))
    found += [credential for credential in claimed if credential[1:3] not in dispatched]
    # Ids sort by age: parents come before their children, and tasks are locked in the order in which all lock them.
    return sorted(found, key=lambda credential: (not credential.jti, credential))


def revoke_all(state: State, credentials: list[Credential]) -> None:
    """Revoke credentials that descend from a revoked key or token."""
    for credential in credentials:
        if credential.jti:
            _revoke_token(state, credential.jti)
        else:
            _end_attempt(state, credential)


def finish(state: State, id: str) -> None:
    """Record that no credential below the key or token is left to be revoked."""
    delete_meta(state.db, _MARK + id)


def revoke_at_once(state: State, id: str) -> None:
    """Revoke everything below a marked key or token in this transaction: no server runs that it could hold up."""
    revoke_all(state, left_below(state, id) or [])
    finish(state, id)


def revoke_one(state: State, record: TokenRecord) -> None:
    """Revoke a token; its session is detached, and calls that wait with it look again."""
    TOKENS.update(state.db, record.jti, revoked_at=state.now)
    state.wake(revocation_of(record.jti))
    if record.session_id is not None:
        sessions.detach_revoked(state, record.session_id)


def _revoke_token(state: State, jti: str) -> None:
    record = TOKENS.lock(state.db, jti)
    if record is not None and record.revoked_at is None:
        revoke_one(state, record)


def _end_attempt(state: State, found: Credential) -> None:
    """End an attempt whose worker may not act any more.

    One that was claimed with the revoked key may be retried, since its dispatcher still may.
    """
    task = lock_task(state, found.task_id, ENGINE)
    attempt = ATTEMPTS.get(state.db, found.task_id, found.attempt)
    if attempt is None or not attempt.is_live or task.status not in (Status.RUNNING, Status.SUSPENDED):
        return
    if not found.claimed:
        fail_attempt(state, task, attempt, Reason.REVOKED, "the token that dispatched it was revoked")
        state.wake(revocation_of(attempt.jti))
        for record in _MINTED_BY.all(state.db, parent=attempt.jti):
            revoke_one(state, record)
    elif attempt.phase is Phase.RUNNING:
        lose_attempt(state, task, attempt, "the key that it was claimed with was revoked")
