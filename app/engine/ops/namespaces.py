"""Namespaces by name: found, or created by whatever first uses one; and what root sees of each."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, cast

import sqlalchemy as sa

from app.domain.clock import Instant
from app.domain.errors import RoleViolation
from app.domain.namespaces import DEFAULT, DEFAULT_ID, Namespace, check_name
from app.domain.questions import QuestionStatus
from app.domain.tokens import ApiKey
from app.engine.ops import audit
from app.state import schema
from app.state.state import State
from app.state.statements import Statement
from app.state.tables import NAMESPACES

_N, _T, _Q, _K = schema.namespaces.c, schema.tasks.c, schema.questions.c, schema.api_keys.c
_BY_NAME = NAMESPACES.search(_N.name == sa.bindparam("of_name"))
_ALL = NAMESPACES.search(order=(_N.name,))
_LAST = Statement(sa.select(sa.func.max(_N.id)))
_TASKS = Statement(sa.select(_T.namespace, _T.status, sa.func.count()).group_by(_T.namespace, _T.status))
_OPEN = Statement(
    sa.select(_Q.namespace, sa.func.count(), sa.func.min(_Q.asked_at))
    .where(_Q.status == QuestionStatus.OPEN.value)
    .group_by(_Q.namespace)
)
_KEYS = Statement(sa.select(_K.namespace, sa.func.count()).where(_K.revoked_at.is_(None)).group_by(_K.namespace))
_OF = cast(Any, sa.bindparam("of_namespace"))
_TASKS_OF = Statement(sa.select(_T.status, sa.func.count()).where(_T.namespace == _OF).group_by(_T.status))
_OPEN_OF = Statement(
    sa.select(sa.func.count(), sa.func.min(_Q.asked_at)).where(
        _Q.namespace == _OF, _Q.status == QuestionStatus.OPEN.value
    )
)
_KEYS_OF = Statement(sa.select(sa.func.count()).where(_K.namespace == _OF, _K.revoked_at.is_(None)))


@dataclass(frozen=True, slots=True, kw_only=True)
class NamespaceSummary:
    """The contents of a namespace: valid keys, tasks by status, and open questions."""

    name: str
    keys: int
    tasks: dict[str, int]
    open_questions: int
    oldest_open_at: Instant | None


def every(state: State) -> list[Namespace]:
    """Return all namespaces, by name."""
    return _ALL.all(state.db)


def find(state: State, name: str) -> int | None:
    """Return the id of a namespace; None when it was never used."""
    found = _BY_NAME.first(state.db, of_name=name)
    return None if found is None else found.id


def find_if_named(state: State, name: str | None) -> int | None:
    """Return the namespace to look in: None for all, and none that exists (-1) for a name that was never used."""
    if name is None:
        return None
    found = find(state, name)
    return -1 if found is None else found


def use(state: State, name: str, *, by: ApiKey | str) -> int:
    """Return the id of a namespace, which is created by its first use. Raises InvalidName for an invalid name."""
    check_name(name)
    known = find(state, name)
    if known is not None:
        return known
    row = Namespace(id=int(_LAST.query(state.db)[0][0]) + 1, name=name, created_at=state.now)
    NAMESPACES.insert(state.db, row)
    audit.record(state, by, "namespace_used", target=name, namespace=row.id)
    return row.id


def of_key(state: State, key: ApiKey, name: str | None) -> int:
    """Return the namespace in which a key acts: its own, or for a root key the named one (`default` without a name).

    Raises RoleViolation when another key names one that is not its own, InvalidName when root names an impossible one.
    """
    if key.root:
        return DEFAULT_ID if name in (None, DEFAULT) else use(state, name or DEFAULT, by=key)
    if name is not None and find(state, name) != key.namespace:
        raise RoleViolation("this API key", "act in another namespace")
    return key.namespace


def summary(state: State, namespace: int) -> NamespaceSummary | None:
    """Return what one namespace holds, by its own rows alone."""
    row = NAMESPACES.get(state.db, namespace)
    if row is None:
        return None
    of = {"of_namespace": namespace}
    [(asked, oldest)] = _OPEN_OF.query(state.db, **of)
    return NamespaceSummary(
        name=row.name,
        keys=_KEYS_OF.query(state.db, **of)[0][0],
        tasks=dict(_TASKS_OF.query(state.db, **of)),
        open_questions=asked,
        oldest_open_at=oldest,
    )


def summaries(state: State) -> list[NamespaceSummary]:
    """Return what every namespace holds, by name. Reads much: not on the event loop."""
    tasks: dict[int, dict[str, int]] = {}
    for namespace, status, count in _TASKS.query(state.db):
        tasks.setdefault(namespace, {})[status] = count
    asked = {namespace: (count, oldest) for namespace, count, oldest in _OPEN.query(state.db)}
    keys = dict(_KEYS.query(state.db))
    return [
        NamespaceSummary(
            name=row.name,
            keys=keys.get(row.id, 0),
            tasks=tasks.get(row.id, {}),
            open_questions=asked.get(row.id, (0, None))[0],
            oldest_open_at=asked.get(row.id, (0, None))[1],
        )
        for row in every(state)
    ]
