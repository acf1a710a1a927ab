"""Which tasks a list, a count or a change of many tasks is about."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Literal, cast

import sqlalchemy as sa
from sqlalchemy.sql import ColumnElement

from app.domain.clock import Instant
from app.domain.errors import InvalidRequest
from app.domain.ids import ALPHABET, ID_LENGTH, first_id
from app.domain.search_words import QUERY_LENGTH, phrases_of
from app.domain.tasks import Status
from app.state import schema, task_words
from app.state.state import State
from app.state.statements import Statement

MOST_LABELS = 8
MOST_IDS = 1_000

_T, _L = schema.tasks.c, schema.task_labels.c
_ID_PREFIX = re.compile(rf"[Tt]-[0-7][{ALPHABET}]{{0,{ID_LENGTH - 1}}}", re.IGNORECASE)
_OF_NAMESPACE = cast(Any, sa.bindparam("of_namespace"))


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskFilter:
    """Which tasks are meant; a field that is None or empty matches every task.

    `query` is searched for in directive, result, agent and labels, or is the beginning of an id. Tasks were created at
    or after `created_from`, and before `created_until`.
    """

    query: str | None = None
    status: Status | None = None
    agent: str | None = None
    labels: tuple[tuple[str, str], ...] = ()
    parent: str | None = None
    session: str | None = None
    created_from: Instant | None = None
    created_until: Instant | None = None
    ids: tuple[str, ...] = ()
    oldest_first: bool = False
    by_duration: Literal["longest", "shortest"] | None = None

    @property
    def searches(self) -> bool:
        """Whether finding the tasks may take long."""
        return self.query is not None or self.by_duration is not None

    def spelled(self) -> dict[str, Any]:
        """Return the fields that are set, for the audit log."""
        named = {name: getattr(self, name) for name in ("query", "status", "agent", "parent", "session")}
        named |= {"created_from": self.created_from, "created_until": self.created_until}
        named |= {"labels": dict(self.labels) or None, "ids": list(self.ids) or None}
        return {name: value for name, value in named.items() if value is not None}


def _has_label(place: int) -> ColumnElement[bool]:
    found = sa.select(_L.task_id).where(
        _L.namespace == _OF_NAMESPACE,
        _L.name == sa.bindparam(f"of_name{place}"),
        _L.value == sa.bindparam(f"of_value{place}"),
    )
    return _T.id.in_(found)


_IN_NAMESPACE = _T.namespace == _OF_NAMESPACE
_BESIDE_AN_INDEX = _T.namespace + sa.literal_column("0") == _OF_NAMESPACE
"""Beside an index that is narrower than the namespace, which SQLite would not prefer by itself."""
_CONDITIONS: dict[str, ColumnElement[bool]] = {
    "of_words": task_words.matches(sa.bindparam("of_words")),
    "of_status": _T.status == sa.bindparam("of_status"),
    "of_agent": _T.agent == sa.bindparam("of_agent"),
    "of_parent": _T.parent_task_id == sa.bindparam("of_parent"),
    "of_session": _T.session_id == sa.bindparam("of_session"),
    "from_id": _T.id >= sa.bindparam("from_id"),
    "until_id": _T.id < sa.bindparam("until_id"),
    "prefix_from": _T.id >= sa.bindparam("prefix_from"),
    "prefix_until": _T.id < sa.bindparam("prefix_until"),
    **{f"of_value{place}": _has_label(place) for place in range(MOST_LABELS)},
}


def parameters(state: State, namespace: int, wanted: TaskFilter) -> dict[str, Any]:
    """Return the parameters of `conditions`. Raises InvalidRequest for a search without a word."""
    given: dict[str, Any] = {
        "of_status": None if wanted.status is None else wanted.status.value,
        "of_agent": wanted.agent,
        "of_parent": wanted.parent,
        "of_session": wanted.session,
        "from_id": None if wanted.created_from is None else first_id("T", wanted.created_from),
        "until_id": None if wanted.created_until is None else first_id("T", wanted.created_until),
        **_query(state, wanted.query),
    }
    for place, (name, value) in enumerate(wanted.labels):
        given |= {f"of_name{place}": name, f"of_value{place}": value}
    return {"of_namespace": namespace} | {name: value for name, value in given.items() if value is not None}


def _query(state: State, query: str | None) -> dict[str, str]:
    if query is None:
        return {}
    if _ID_PREFIX.fullmatch(query.strip()):
        prefix = "T" + query.strip().lower()[1:]
        return {"prefix_from": prefix, "prefix_until": prefix + "~"}
    phrases = phrases_of(query)
    if not phrases:
        raise InvalidRequest("give a word to search for", "q")
    return {"of_words": task_words.query_text(state.db.dialect, phrases)}


def conditions(names: Iterable[str]) -> list[ColumnElement[bool]]:
    """Return the conditions on tasks that have these parameters."""
    narrow = {"of_parent", "of_session", "of_words"}.intersection(names)
    found = [_CONDITIONS[name] for name in sorted(names) if name in _CONDITIONS]
    return [_BESIDE_AN_INDEX if narrow else _IN_NAMESPACE, *found]


_COUNTS: dict[frozenset[str], Statement] = {}


def counts(state: State, namespace: int, wanted: TaskFilter) -> dict[str, int]:
    """Return how many tasks there are by status. Raises InvalidRequest for a search without a word."""
    given = parameters(state, namespace, wanted)
    statement = _COUNTS.get(frozenset(given))
    if statement is None:
        found = sa.select(_T.status, sa.func.count()).where(*conditions(given)).group_by(_T.status)
        statement = _COUNTS[frozenset(given)] = Statement(found)
    return dict(statement.query(state.db, **given))


_PICKS: dict[frozenset[str], Statement] = {}


def pick(state: State, namespace: int, wanted: TaskFilter, *, before: str, most: int) -> list[str]:
    """Return the ids of the newest tasks before one, `most` at most."""
    if wanted.ids:
        return sorted((id for id in set(wanted.ids) if id < before), reverse=True)[:most]
    given = parameters(state, namespace, wanted)
    statement = _PICKS.get(frozenset(given))
    if statement is None:
        where = [*conditions(given), _T.id < sa.bindparam("before")]
        found = sa.select(_T.id).where(*where).order_by(_T.id.desc()).limit(sa.bindparam("most"))
        statement = _PICKS[frozenset(given)] = Statement(found)
    return [row[0] for row in statement.query(state.db, **given, before=before, most=most)]


def check(wanted: TaskFilter) -> None:
    """Raise InvalidRequest for a filter beyond its limits, or ids beside other conditions."""
    if len(wanted.labels) > MOST_LABELS:
        raise InvalidRequest(f"give at most {MOST_LABELS} labels", "label")
    if wanted.query is not None and len(wanted.query) > QUERY_LENGTH:
        raise InvalidRequest(f"search for at most {QUERY_LENGTH} characters", "q")
    if len(wanted.ids) > MOST_IDS:
        raise InvalidRequest(f"give at most {MOST_IDS} ids", "filter.ids")
