"""The audit log: who did what with which credential; each row holds a digest over itself and the row before."""

from __future__ import annotations

from hashlib import sha256
from typing import Any

import sqlalchemy as sa

from app.domain.access import Caller
from app.domain.json import Json
from app.state import schema
from app.state.state import State
from app.state.statements import Statement
from app.state.tables import get_meta, set_meta

_INSERT = Statement(sa.insert(schema.audit))
_PAGE = Statement(
    sa.select(schema.audit)
    .where(schema.audit.c.seq > sa.bindparam("after"))
    .order_by(schema.audit.c.seq)
    .limit(sa.bindparam("limit"))
)
_HEAD = "audit_head"
_START = "0 " + "0" * 64


def record(
    state: State, action: str, *, actor: str, credential: str | None = None, target: str | None = None, **detail: Any
) -> None:
    """Append a row. `credential` is a token's jti, a key's id or a fingerprint, never a secret."""
    seq_text, previous = (get_meta(state.db, _HEAD, lock=True) or _START).split()
    seq = int(seq_text) + 1
    body = Json.of(detail).text if detail else None
    digest = chain(previous, seq, state.now, action, actor, credential, target, body)
    _INSERT.change(
        state.db,
        seq=seq,
        at=state.now,
        action=action,
        actor=actor,
        credential=credential,
        target=target,
        detail=body,
        digest=digest,
    )
    set_meta(state.db, _HEAD, f"{seq} {digest}")


def by(state: State, caller: Caller, action: str, *, target: str | None = None, **detail: Any) -> None:
    """Append a row about a caller's action."""
    record(state, action, actor=f"{caller.role}:{caller.subject}", credential=caller.jti, target=target, **detail)


def chain(previous: str, *cells: Any) -> str:
    """Return the digest of a row, given the digest of the row before."""
    return sha256(Json.of([previous, *cells]).text.encode()).hexdigest()


def page(state: State, after: int, limit: int) -> list[dict[str, Any]]:
    """Return rows with numbers above `after`, oldest first, as plain objects for export."""
    names = [str(column.name) for column in schema.audit.columns]
    return [dict(zip(names, row, strict=True)) for row in _PAGE.query(state.db, after=after, limit=limit)]


def verify(state: State) -> int | None:
    """Return the first row that breaks the chain or is missing at its end; None when the log is intact."""
    previous, after = _START.split()[1], 0
    while rows := page(state, after, 1000):
        for row in rows:
            cells = [row[name] for name in ("seq", "at", "action", "actor", "credential", "target", "detail")]
            if chain(previous, *cells) != row["digest"] or row["seq"] != after + 1:
                return int(row["seq"])
            previous, after = str(row["digest"]), int(row["seq"])
    return None if (get_meta(state.db, _HEAD) or _START) == f"{after} {previous}" else after + 1


def head(state: State) -> int:
    """Return the number of rows."""
    return int((get_meta(state.db, _HEAD) or _START).split()[0])
