"""The switches of dispatching: one for each namespace, and one for all. While one is off, no new attempt starts."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa

from app.domain.access import Caller
from app.domain.errors import LoopPaused
from app.domain.events import EventKind
from app.domain.json import Json
from app.domain.namespaces import ALL_ID
from app.engine.ops import audit
from app.state import schema
from app.state.state import State
from app.state.statements import Statement
from app.state.tables import NAMESPACES, delete_meta, get_meta, list_meta, set_meta

_NAME = "loop:"
"""Prefix of the state of a switch, whose row is updated in place."""
_PAUSED = "paused:"
"""Prefix of the copy that is there only while dispatching is paused: all that a dispatch asks."""
_M = schema.meta.c
MARKERS = tuple(
    sa.select(_M.value).where(_M.name == sa.bindparam(name)).scalar_subquery().label(name) for name in ("own", "of_all")
)
"""Columns that read the copies of both switches of a namespace, named by `marker_names`, in another statement."""
# Two searches: to test a name against a list, SQLite builds a table of it.
_FOUND = Statement(
    sa.union_all(*(sa.select(_M.name, _M.value).where(_M.name == sa.bindparam(name)) for name in ("own", "of_all")))
)


def _marker(namespace: sa.Column[int]) -> Any:
    return sa.literal_column(f"'{_PAUSED}'", sa.Text).concat(sa.cast(namespace, sa.Text))


IS_PAUSED = sa.exists().where(_M.name == _marker(schema.tasks.c.namespace))
"""Whether dispatching is paused in the namespace of a task, in a search for tasks."""

_N = schema.namespaces.c
_RUNNING = Statement(sa.select(_N.id).where(~sa.exists().where(_M.name == _marker(_N.id))).order_by(_N.id))


@dataclass(frozen=True, slots=True)
class LoopState:
    """Whether dispatching is paused, and who switched it last, and when."""

    paused: bool
    by: str | None
    since: int | None


RUNNING = LoopState(paused=False, by=None, since=None)


@dataclass(frozen=True, slots=True)
class Switches:
    """The switch of a namespace, and that of all; dispatching runs while both are on."""

    own: LoopState
    all: LoopState

    @property
    def paused(self) -> LoopState | None:
        """The switch that keeps attempts from starting, if one does."""
        return self.all if self.all.paused else self.own if self.own.paused else None


def topic(namespace: int) -> str:
    """Return the topic that is woken when a switch is turned; `ALL_ID` has the switch of all."""
    return f"loop:{namespace}"


def read(state: State, namespace: int) -> Switches:
    """Return both switches of a namespace, each with who turned it last."""
    return _switches(state, _NAME, namespace)


def is_paused(state: State, namespace: int) -> LoopState | None:
    """Return the switch that keeps attempts of the namespace from starting; None while none does."""
    return _switches(state, _PAUSED, namespace).paused if _found(state, _PAUSED, namespace) else None


def all_paused(state: State) -> bool:
    """Return whether the switch of all is off."""
    return get_meta(state.db, f"{_PAUSED}{ALL_ID}") is not None


def any_paused(state: State) -> bool:
    """Return whether the switch of any namespace is off."""
    return bool(list_meta(state.db, _PAUSED))


def running(state: State) -> list[int]:
    """Return the namespaces whose own switch is on."""
    return [row[0] for row in _RUNNING.query(state.db)]


def paused_namespaces(state: State) -> list[tuple[str, str | None]]:
    """Return the namespaces whose own switch is off, by name, each with who turned it."""
    names = {f"{_PAUSED}{row.id}": row.name for row in NAMESPACES.search(order=(_N.name,)).all(state.db)}
    found = [(names[marker], get_meta(state.db, marker)) for marker in list_meta(state.db, _PAUSED) if marker in names]
    return [(name, _decoded(text).by) for name, text in sorted(found) if text is not None]


def _switches(state: State, prefix: str, namespace: int) -> Switches:
    found = {name: _decoded(text) for name, text in _found(state, prefix, namespace)}
    return Switches(found.get(f"{prefix}{namespace}", RUNNING), found.get(f"{prefix}{ALL_ID}", RUNNING))


def _found(state: State, prefix: str, namespace: int) -> list[tuple[Any, ...]]:
    return _FOUND.query(state.db, own=f"{prefix}{namespace}", of_all=f"{prefix}{ALL_ID}")


def marker_names(namespace: int) -> dict[str, str]:
    """Return the parameters of `MARKERS`."""
    return {"own": f"{_PAUSED}{namespace}", "of_all": f"{_PAUSED}{ALL_ID}"}


def _decoded(text: str) -> LoopState:
    value = Json(text).value
    return LoopState(bool(value["paused"]), value["by"], value["since"])


def require_running(state: State, namespace: int) -> None:
    """Raise LoopPaused while dispatching is paused, in the namespace or in all."""
    found = dict(_found(state, _PAUSED, namespace))
    require_unmarked(*map(found.get, marker_names(namespace).values()))


def require_unmarked(own: str | None, of_all: str | None) -> None:
    """Raise LoopPaused if one of these copies, which `MARKERS` read, is there."""
    if (text := of_all or own) is not None:
        paused = _decoded(text)
        raise LoopPaused(paused.by, paused.since)


def switch(state: State, caller: Caller, *, paused: bool) -> Switches:
    """Pause or resume dispatching in the caller's namespace; switching to the current state changes nothing."""
    name = f"{_NAME}{caller.namespace}"
    text = get_meta(state.db, name, lock=True)
    if (text is not None and _decoded(text).paused) == paused:
        return read(state, caller.namespace)
    after = Json.of({"paused": paused, "by": caller.subject, "since": state.now}).text
    set_meta(state.db, name, after)
    marker = f"{_PAUSED}{caller.namespace}"
    if paused:
        set_meta(state.db, marker, after)
    else:
        delete_meta(state.db, marker)
    kind = EventKind.LOOP_PAUSED if paused else EventKind.LOOP_RESUMED
    state.emit(kind, namespace=caller.namespace, by=caller.subject)
    audit.record(state, caller, "loop_paused" if paused else "loop_resumed")
    state.wake(topic(caller.namespace))
    state.wake("loop")
    if not paused:
        state.due(state.now)
    return read(state, caller.namespace)
