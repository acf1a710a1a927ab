"""Lists, one page at a time: each reads an index, in the order of ids. Long values of an item are previews."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Generic, TypeVar, cast

import sqlalchemy as sa

from app.domain.attempts import Attempt
from app.domain.errors import InvalidRequest
from app.domain.ids import is_id
from app.domain.json import NULL, Json
from app.domain.limits import Limits
from app.domain.outputs import LateResult
from app.domain.questions import Question, QuestionStatus
from app.domain.sessions import Session
from app.domain.skills import Skill
from app.domain.tasks import Task, TaskState
from app.domain.tokens import ApiKey
from app.domain.webhooks import Webhook
from app.engine.ops import durations, task_filters, usage
from app.engine.ops.task_filters import TaskFilter
from app.engine.ops.tasks import view
from app.state import schema
from app.state.paging import Beginning, FoundPage, FoundRow, PageBounds, PageSearch
from app.state.state import State
from app.state.statements import Statement
from app.state.tables import API_KEYS, ATTEMPTS, LATE_RESULTS, QUESTIONS, SESSIONS, SKILLS, TASKS, WEBHOOKS

T = TypeVar("T")
R = TypeVar("R", bound=tuple[Any, ...])

_T, _Q, _S = schema.tasks.c, schema.questions.c, schema.sessions.c
_LONG = ("question", "answer", "action")
"""Fields of a question that a list shows the beginning of."""
_A, _LATE, _K, _W = schema.attempts.c, schema.late_results.c, schema.api_keys.c, schema.webhooks.c
_P = schema.skills.c


@dataclass(frozen=True, slots=True)
class Page(Generic[T]):
    """One page of a list, and the cursor of the next one (None at the end).

    `cut` names, for each item, the fields of which it holds a preview: the beginning of a text, null for other JSON.
    """

    items: list[T]
    next_cursor: str | None
    cut: list[tuple[str, ...]] = field(default_factory=list[tuple[str, ...]])


# Previews

_TEXT = re.compile(r'"(?:[^"\\]|\\(?:u[0-9a-fA-F]{4}|[^u]))*')
_HALF = re.compile(r"\\u[dD][89abAB][0-9a-fA-F]{2}\Z")
_FIELDS = {"directive": "initial_directive"}
"""Names of columns in the API, where they differ."""


def preview(beginning: str) -> Json:
    """Return the preview of a long JSON value by its beginning: of a text that much of it, else null."""
    whole = _TEXT.match(beginning[:-1])
    if whole is None:
        return NULL
    return Json(_HALF.sub("", whole.group()) + '"')


def _bounds(limits: Limits, items: int) -> PageBounds:
    return PageBounds(
        items=items,
        bytes=limits.page_bytes,
        long_bytes=limits.item_value_bytes,
        shown_bytes=limits.item_value_bytes,
    )


def previews(long: Mapping[str, Beginning]) -> dict[str, Json]:
    """Return the previews of long values, by column."""
    return {name: preview(value.text) for name, value in long.items()}


def _shown(found: FoundRow[R]) -> R:
    row: Any = found.row
    return cast("R", row._replace(**previews(found.long)) if found.long else row)


def _cut(found: FoundPage[R], cursor: str) -> Page[R]:
    """Return the page of these rows. The next one begins after the last row's value of the column `cursor`."""
    rows = [_shown(row) for row in found.rows]
    following = str(getattr(rows[-1], cursor)) if found.more else None
    cut = [tuple(_FIELDS.get(name, name) for name in row.long) for row in found.rows]
    return Page(rows, following, cut)


def _check_cursor(cursor: str | None, prefix: str) -> None:
    if cursor is not None and not is_id(cursor, prefix):
        raise InvalidRequest("not a cursor of this list", "cursor")


# Tasks

_TASK_PAGES: dict[tuple[frozenset[str], bool], PageSearch[Task]] = {}


def tasks(
    state: State, limits: Limits, namespace: int, wanted: TaskFilter, *, limit: int, cursor: str | None
) -> Page[TaskState]:
    """Return tasks, the newest first unless the oldest are wanted first, or the longest or shortest."""
    if wanted.by_duration is not None:
        return _by_duration(state, limits, namespace, wanted, wanted.by_duration, limit=limit, cursor=cursor)
    _check_cursor(cursor, "T")
    given = task_filters.parameters(state, namespace, wanted)
    position = {} if cursor is None else {"behind" if wanted.oldest_first else "before": cursor}
    used = frozenset(given.keys() | position.keys())
    search = _TASK_PAGES.get((used, wanted.oldest_first))
    if search is None:
        where = [*task_filters.conditions(given), *(_TASK_POSITIONS[name] for name in position)]
        order = _T.id if wanted.oldest_first else _T.id.desc()
        search = _TASK_PAGES[used, wanted.oldest_first] = PageSearch(
            TASKS, *where, order=(order,), long=("directive", "last_result"), unread=("next_prompt",)
        )
    page = _cut(search.page(state.db, _bounds(limits, limit), **given, **position), "id")
    return _with_more(state, page)


def _with_more(state: State, page: Page[Task]) -> Page[TaskState]:
    """Add what only a list has: the start, and what was used."""
    ids = [task.id for task in page.items]
    used, starts = usage.of_tasks(state, ids), durations.starts(state, ids)
    shown = [replace(view(state, task), usage=used.get(task.id), started_at=starts.get(task.id)) for task in page.items]
    return Page(shown, page.next_cursor, page.cut)


_TASK = PageSearch(
    TASKS,
    _T.id == sa.bindparam("of_task"),
    order=(_T.id,),
    long=("directive", "last_result"),
    unread=("next_prompt",),
)


def _by_duration(
    state: State,
    limits: Limits,
    namespace: int,
    wanted: TaskFilter,
    order: durations.Order,
    *,
    limit: int,
    cursor: str | None,
) -> Page[TaskState]:
    """Return tasks by how long they took. Where they are large, a page ends early, after one task at least."""
    places = durations.ordered(state, namespace, wanted, order, most=limit + 1, cursor=cursor)
    rows, size = list[FoundRow[Task]](), 0
    following: str | None = None
    for number, place in enumerate(places):
        found = _TASK.page(state.db, _bounds(limits, 1), of_task=place.id)
        size += found.bytes
        if number == limit or (rows and size > limits.page_bytes):
            following = places[number - 1].spelled()
            break
        rows += found.rows
    page = _cut(FoundPage(rows, more=False), "id")
    return _with_more(state, Page(page.items, following, page.cut))


_TASK_POSITIONS = {"before": _T.id < sa.bindparam("before"), "behind": _T.id > sa.bindparam("behind")}


# Questions

_QUESTION_SEARCHES: dict[frozenset[str], PageSearch[Question]] = {}
_QUESTION_CONDITIONS = {
    "status": _Q.status == sa.bindparam("of_status"),
    "bridge_id": _Q.bridge_id == sa.bindparam("of_bridge"),
    "task_id": _Q.task_id == sa.bindparam("of_task"),
    "cursor": _Q.key > sa.bindparam("behind"),
}
_ADDRESSED = PageSearch(
    QUESTIONS,
    _Q.namespace == sa.bindparam("of_namespace"),
    _Q.status == QuestionStatus.OPEN.value,
    sa.or_(_Q.bridge_id == sa.bindparam("of_bridge"), _Q.bridge_id.is_(None)),
    _Q.key > sa.bindparam("behind"),
    order=(_Q.key,),
)


def questions(
    state: State,
    limits: Limits,
    namespace: int,
    *,
    status: QuestionStatus | None,
    bridge_id: str | None,
    task_id: str | None,
    limit: int,
    cursor: str | None,
) -> Page[Question]:
    """Return questions, oldest first."""
    _check_cursor(cursor, "R")
    given = {
        "status": status.value if status else None,
        "bridge_id": bridge_id,
        "task_id": task_id,
        "cursor": cursor,
    }
    key = frozenset(name for name, value in given.items() if value is not None)
    search = _QUESTION_SEARCHES.get(key)
    if search is None:
        of_namespace = _Q.namespace if task_id is None else _Q.namespace + sa.literal_column("0")
        where = [of_namespace == sa.bindparam("of_namespace")]
        where += [_QUESTION_CONDITIONS[name] for name in sorted(key)]
        search = _QUESTION_SEARCHES[key] = PageSearch(QUESTIONS, *where, order=(_Q.key,), long=_LONG)
    found = search.page(
        state.db,
        _bounds(limits, limit),
        of_namespace=namespace,
        of_status=given["status"],
        of_bridge=bridge_id,
        of_task=task_id,
        behind=cursor,
    )
    return _cut(found, "key")


def addressed_questions(
    state: State, limits: Limits, namespace: int, bridge_id: str, *, after: str, limit: int
) -> list[Question]:
    """Return open questions addressed to a bridge or to any, whole, oldest first; none when there are no more."""
    found = _ADDRESSED.page(state.db, _bounds(limits, limit), of_namespace=namespace, of_bridge=bridge_id, behind=after)
    return [row.row for row in found.rows]


SEARCHED = 1_000
"""Decided questions that one page looks at, at most."""
_SEARCHED_TEXT = 4_096
"""Characters of a question and of its answer in which a search looks."""

_DECIDED = (_Q.namespace == sa.bindparam("of_namespace"), _Q.answered_at.is_not(None))
_BEFORE = sa.or_(
    _Q.answered_at < sa.bindparam("before_at"),
    sa.and_(_Q.answered_at == sa.bindparam("before_at"), _Q.key < sa.bindparam("before_key")),
)
_NEWEST_DECISION = (_Q.answered_at.desc(), _Q.key.desc())
_LATEST = sa.select(_Q.key).where(*_DECIDED, _BEFORE).order_by(*_NEWEST_DECISION)
_LAST_SEARCHED = Statement(_LATEST.limit(1).offset(SEARCHED - 1))
_HOLDS = sa.or_(
    *(
        text.ilike(sa.bindparam("pattern"), escape="\\")
        for text in (
            *(_Q.agent, _Q.title, _Q.key, _Q.task_id, _Q.answered_by, _Q.answer_comment),
            *(sa.func.substr(text, 1, _SEARCHED_TEXT) for text in (_Q.question, _Q.answer)),
        )
    )
)
_DECIDED_PAGE = PageSearch(QUESTIONS, *_DECIDED, _BEFORE, order=_NEWEST_DECISION, long=_LONG)
_SEARCH_PAGE = PageSearch(
    QUESTIONS,
    _Q.key.in_(_LATEST.limit(SEARCHED)),
    _HOLDS,
    order=_NEWEST_DECISION,
    long=_LONG,
)
_SPECIAL = re.compile(r"[\\%_]")


def decided_questions(
    state: State, limits: Limits, namespace: int, *, search: str | None, limit: int, cursor: str | None
) -> Page[Question]:
    """Return questions that are no longer open, the newest decision first; with `search` those that hold the text.

    One page of a search looks at so many questions and no more: it may be empty, with a cursor.
    """
    _check_cursor(cursor, "R")
    last = QUESTIONS.get(state.db, cursor) if cursor else None
    if cursor and (last is None or last.namespace != namespace):
        return Page([], None)
    # Of no later decision than the last of the page before; of the first page, than any.
    behind: dict[str, Any] = {"of_namespace": namespace, "before_at": 2**62, "before_key": ""}
    if last is not None and last.answered_at is not None:
        behind |= {"before_at": last.answered_at, "before_key": last.key}
    if search is None:
        return _cut(_DECIDED_PAGE.page(state.db, _bounds(limits, limit), **behind), "key")
    pattern = "%" + _SPECIAL.sub(r"\\\g<0>", search) + "%"
    found = _cut(_SEARCH_PAGE.page(state.db, _bounds(limits, limit), **behind, pattern=pattern), "key")
    if found.next_cursor is None and (end := _LAST_SEARCHED.query(state.db, **behind)):
        return Page(found.items, end[0][0], found.cut)
    return found


# The other lists

_SESSIONS = PageSearch(
    SESSIONS,
    _S.namespace == sa.bindparam("of_namespace"),
    _S.id < sa.bindparam("before"),
    order=(_S.id.desc(),),
)
_IS_ATTACHED = sa.and_(_S.attached == sa.text("1"), _S.expires_at > sa.bindparam("at"))
_ATTACHED_SESSIONS, _ENDED_SESSIONS = (
    PageSearch(
        SESSIONS,
        _S.namespace == sa.bindparam("of_namespace"),
        _S.id < sa.bindparam("before"),
        wanted,
        order=(_S.id.desc(),),
    )
    for wanted in (_IS_ATTACHED, sa.not_(_IS_ATTACHED))
)
_ATTEMPTS = PageSearch(
    ATTEMPTS,
    _A.task_id == sa.bindparam("of_task"),
    _A.attempt > sa.bindparam("behind"),
    order=(_A.attempt,),
    long=("prompt", "final"),
    unread=("process",),
)
_DIRECTIVE = PageSearch(TASKS, _T.id == sa.bindparam("of_task"), order=(_T.id,), long=("directive", "last_result"))
_LATE_RESULTS = PageSearch(
    LATE_RESULTS,
    _LATE.task_id == sa.bindparam("of_task"),
    _LATE.attempt == sa.bindparam("of_attempt"),
    _LATE.index > sa.bindparam("behind"),
    order=(_LATE.index,),
    long=("value",),
)
_KEYS_BEHIND = _K.id > sa.bindparam("behind")
_KEYS = PageSearch(API_KEYS, _KEYS_BEHIND, order=(_K.id,))
_KEYS_OF = PageSearch(API_KEYS, _K.namespace == sa.bindparam("of_namespace"), _KEYS_BEHIND, order=(_K.id,))
_WEBHOOKS_BEHIND = _W.id > sa.bindparam("behind")
_WEBHOOKS = PageSearch(WEBHOOKS, _WEBHOOKS_BEHIND, order=(_W.id,))
_WEBHOOKS_OF = PageSearch(WEBHOOKS, _W.namespace == sa.bindparam("of_namespace"), _WEBHOOKS_BEHIND, order=(_W.id,))

_SKILLS_BEHIND = _P.id > sa.bindparam("behind")
_SKILLS = PageSearch(SKILLS, _SKILLS_BEHIND, order=(_P.id,))
_SKILLS_OF = PageSearch(SKILLS, _P.namespace == sa.bindparam("of_namespace"), _SKILLS_BEHIND, order=(_P.id,))


def sessions(
    state: State, limits: Limits, namespace: int, *, limit: int, cursor: str | None, attached: bool | None = None
) -> Page[Session]:
    """Return sessions, newest first, without their tokens: those that are attached now, those that ended, or all."""
    _check_cursor(cursor, "S")
    bounds, position = _bounds(limits, limit), {"of_namespace": namespace, "before": cursor or "S-~"}
    if attached is None:
        return _cut(_SESSIONS.page(state.db, bounds, **position), "id")
    search = _ATTACHED_SESSIONS if attached else _ENDED_SESSIONS
    return _cut(search.page(state.db, bounds, **position, at=state.now), "id")


def attempts(state: State, limits: Limits, task_id: str, *, limit: int, after: int) -> Page[Attempt]:
    """Return the attempts of a task with numbers above `after`, each with the prompt that it had."""
    bounds = _bounds(limits, limit)
    page = _cut(_ATTEMPTS.page(state.db, bounds, of_task=task_id, behind=after), "attempt")
    if all(row.prompt is not None for row in page.items):
        return page
    [task] = _DIRECTIVE.page(state.db, bounds, of_task=task_id).rows
    directive, cut = _shown(task).directive, ("prompt",) if "directive" in task.long else ()
    rows, names = list[Attempt](), list[tuple[str, ...]]()
    for row, has in zip(page.items, page.cut, strict=True):
        rows.append(row if row.prompt is not None else row._replace(prompt=directive))
        names.append(has if row.prompt is not None else (*cut, *has))
    return Page(rows, page.next_cursor, names)


def late_results(
    state: State, limits: Limits, task_id: str, attempt: int, *, limit: int, after: int
) -> Page[LateResult]:
    """Return the late results of an attempt with an index above `after`, in order."""
    found = _LATE_RESULTS.page(state.db, _bounds(limits, limit), of_task=task_id, of_attempt=attempt, behind=after)
    return _cut(found, "index")


def keys(state: State, limits: Limits, *, limit: int, cursor: str | None, namespace: int | None = None) -> Page[ApiKey]:
    """Return API keys, oldest first, revoked ones included: of one namespace, or all."""
    _check_cursor(cursor, "K")
    search = _KEYS if namespace is None else _KEYS_OF
    return _cut(search.page(state.db, _bounds(limits, limit), of_namespace=namespace, behind=cursor or ""), "id")


def webhooks(
    state: State, limits: Limits, *, limit: int, cursor: str | None, namespace: int | None = None
) -> Page[Webhook]:
    """Return webhooks, oldest first: of one namespace, or all."""
    _check_cursor(cursor, "H")
    search = _WEBHOOKS if namespace is None else _WEBHOOKS_OF
    return _cut(search.page(state.db, _bounds(limits, limit), of_namespace=namespace, behind=cursor or ""), "id")


def skills(
    state: State, limits: Limits, *, limit: int, cursor: str | None, namespace: int | None = None
) -> Page[Skill]:
    """Return skills, oldest first: of one namespace, or all."""
    _check_cursor(cursor, "P")
    search = _SKILLS if namespace is None else _SKILLS_OF
    return _cut(search.page(state.db, _bounds(limits, limit), of_namespace=namespace, behind=cursor or ""), "id")
