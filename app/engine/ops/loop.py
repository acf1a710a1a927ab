"""The dispatch switch: while a senior has paused dispatching, no new attempt starts."""

from __future__ import annotations

from dataclasses import dataclass

from app.domain.access import Caller
from app.domain.errors import LoopPaused
from app.domain.events import EventKind
from app.domain.json import Json
from app.engine.ops import audit
from app.state.state import State
from app.state.tables import get_meta, set_meta

_NAME = "loop"


@dataclass(frozen=True, slots=True)
class LoopState:
    """Whether dispatching is paused, and who switched it last, and when."""

    paused: bool
    by: str | None
    since: int | None


def read(state: State, *, lock: bool = False) -> LoopState:
    """Return the current state of the switch."""
    text = get_meta(state.db, _NAME, lock=lock)
    if text is None:
        return LoopState(False, None, None)
    value = Json(text).value
    return LoopState(bool(value["paused"]), value["by"], value["since"])


def require_running(state: State) -> None:
    """Raise LoopPaused while dispatching is paused."""
    loop = read(state)
    if loop.paused:
        raise LoopPaused(loop.by, loop.since)


def switch(state: State, caller: Caller, *, paused: bool) -> LoopState:
    """Pause or resume dispatching; switching to the current state changes nothing."""
    before = read(state, lock=True)
    if before.paused == paused:
        return before
    after = LoopState(paused, caller.subject, state.now)
    set_meta(state.db, _NAME, Json.of({"paused": paused, "by": caller.subject, "since": state.now}).text)
    kind = EventKind.LOOP_PAUSED if paused else EventKind.LOOP_RESUMED
    state.emit(kind, namespace=caller.namespace, by=caller.subject)
    audit.record(state, caller, "loop_paused" if paused else "loop_resumed")
    state.wake("loop")
    if not paused:
        state.due(state.now)
    return after
