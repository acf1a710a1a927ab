"""Derivations from the feed: the index of words in tasks, and the counts of each minute.

A batch is read in one transaction and written in another, under the position that the first one saw: a batch that
another server process was faster with is dropped. The index lags behind the feed, and is never part of a change.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import sqlalchemy as sa

from app.domain.events import Event, EventKind
from app.domain.json import Json
from app.domain.search_words import MOST_WORDS, TEXT_LENGTH, words_of, words_of_json
from app.engine.ops import minutes
from app.state import feed, schema, task_words
from app.state.state import State
from app.state.statements import Statement
from app.state.tables import LAST_RESULT, get_meta, set_meta

EVENTS_AT_ONCE = 2_000
TASKS_AT_ONCE = 100
"""How many tasks one transaction indexes; those of a batch that changed may take several."""
TEXT_AT_ONCE = 1_000_000
"""Characters that one transaction indexes at most, a single task's aside."""

_POSITION = "indexed"
_LAST = "T-~"
_CHANGING = frozenset(
    {
        EventKind.TASK_CREATED,
        EventKind.TASK_PASS,
        EventKind.TASK_BLOCKED,
        EventKind.RESULT_POSTED,
        EventKind.VERDICT_OVERRIDDEN,
        EventKind.LATE_RESULT_ADOPTED,
    }
)
"""Kinds of events after which a task has other words."""

_T = schema.tasks.c
_TEXTS = Statement(
    sa.select(
        _T.agent,
        _T.labels,
        sa.func.substr(_T.directive, 1, TEXT_LENGTH),
        sa.func.substr(LAST_RESULT.value(_T.last_result), 1, TEXT_LENGTH),
    ).where(_T.id == sa.bindparam("of_task"))
)
_BEFORE = Statement(
    sa.select(_T.id).where(_T.id < sa.bindparam("before")).order_by(_T.id.desc()).limit(sa.bindparam("most"))
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Position:
    """How far the index has come: up to this cursor of the feed, and back to this task of those from before it.

    `cursor` is None before the index was begun, `before` when every older task is indexed.
    """

    cursor: int | None
    before: str | None


@dataclass(slots=True, kw_only=True)
class Batch:
    """The tasks to index next, the events to count, and where the index stands then."""

    seen: Position
    after: Position
    events: list[Event] = field(default_factory=list[Event])
    tasks: list[str] = field(default_factory=list[str])

    @property
    def changes(self) -> bool:
        """Whether there is anything to do."""
        return self.after != self.seen


def position(state: State, *, lock: bool = False) -> Position:
    """Return how far the index has come."""
    text = get_meta(state.db, _POSITION, lock=lock)
    return Position(cursor=None, before=_LAST) if text is None else Position(**Json(text).value)


def next_batch(state: State) -> Batch:
    """Return what is indexed next."""
    seen = position(state)
    head = feed.head(state.db)
    if seen.cursor is None or seen.cursor > head:
        return Batch(seen=seen, after=Position(cursor=head, before=_LAST))
    events = feed.page(state.db, seen.cursor, EVENTS_AT_ONCE)
    changed = {event.task_id: None for event in events if event.kind in _CHANGING and event.task_id is not None}
    cursor, before, older = events[-1].cursor if events else seen.cursor, seen.before, list[str]()
    if before is not None and len(changed) < TASKS_AT_ONCE:
        older = [row[0] for row in _BEFORE.query(state.db, before=before, most=TASKS_AT_ONCE)]
        before = older[-1] if len(older) == TASKS_AT_ONCE else None
    after = Position(cursor=cursor, before=before)
    return Batch(seen=seen, after=after, events=events, tasks=[*changed, *older])


def texts(state: State, tasks: list[str]) -> list[tuple[str, tuple[str | None, ...]]]:
    """Return the texts of the first of these tasks, as many as are indexed at once: agent, labels and the rest."""
    found = list[tuple[str, tuple[str | None, ...]]]()
    room = TEXT_AT_ONCE
    for task_id in tasks[:TASKS_AT_ONCE]:
        rows = _TEXTS.query(state.db, of_task=task_id)
        room -= sum(len(text or "") for row in rows for text in row)
        if room < 0 and found:
            break
        found.append((task_id, rows[0] if rows else ()))
    return found


def words(found: list[tuple[str, tuple[str | None, ...]]]) -> list[tuple[str, list[str]]]:
    """Return the words of these tasks' texts."""
    return [(task_id, _words(texts)) for task_id, texts in found]


def _words(texts: tuple[str | None, ...]) -> list[str]:
    agent, *json = texts or (None,)
    found = words_of(agent or "")
    for text in json:
        found += words_of_json(text or "")
    return found[:MOST_WORDS]


def write(state: State, seen: Position, found: list[tuple[str, list[str]]]) -> bool:
    """Write the words of these tasks; return False, with nothing done, if the index has moved on."""
    if position(state) != seen:
        return False
    for task_id, words in found:
        task_words.write(state.db, task_id, words)
    return True


def move_on(state: State, batch: Batch) -> bool:
    """Count the events of a batch whose tasks are written; return False if another server process did."""
    if position(state, lock=True) != batch.seen:
        return False
    minutes.add(state, batch.events)
    after = {"cursor": batch.after.cursor, "before": batch.after.before}
    set_meta(state.db, _POSITION, Json.of(after).text)
    return True
