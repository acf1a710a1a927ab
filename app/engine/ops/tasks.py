"""Tasks: start and change them, post interim results, inject directives."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any, NamedTuple

import sqlalchemy as sa

from app.domain import names
from app.domain.access import Caller, Role, Verb
from app.domain.errors import (
    InvalidRequest,
    InvalidTransition,
    PayloadTooLarge,
    QuotaExceeded,
    SpawnDepthExceeded,
    TaskNotFound,
)
from app.domain.events import EventKind
from app.domain.json import NO_MEMBERS, Json
from app.domain.limits import Limits
from app.domain.questions import QuestionStatus
from app.domain.spans import context_of_attempt
from app.domain.tasks import AWAITED, TERMINAL, Status, Task, TaskSpec, TaskState
from app.engine.ops import audit
from app.engine.ops.access import bound_rows, lock_credential, require_access, require_live, session_of
from app.engine.ops.queries import lock_task, reaches, require_task
from app.engine.ops.rules import BESIDE_THE_LOOP_BYTES, EngineCfg
from app.state import schema
from app.state.rows import changed, fresh
from app.state.state import State
from app.state.statements import Statement
from app.state.tables import TASKS

_Q = schema.questions.c
_OPEN_KEYS = Statement(
    sa.select(_Q.key)
    .where(_Q.task_id == sa.bindparam("task_id"), _Q.status == QuestionStatus.OPEN.value)
    .order_by(_Q.key)
)
_INSERT_LABEL = Statement(sa.insert(schema.task_labels))
_T = schema.tasks.c
_UNSETTLED = sa.text("status IN ('pending', 'running', 'suspended')")
"""Written as the condition of the indexes that serve it."""


def _counting(column: sa.Column[Any]) -> Statement:
    """Return a statement that counts the unsettled tasks with this column `of_task`, `most` at most."""
    found = sa.select(column).where(column == sa.bindparam("of_task"), _UNSETTLED).limit(sa.bindparam("most"))
    return Statement(sa.select(sa.func.count()).select_from(found.subquery()))


_UNSETTLED_CHILDREN = _counting(_T.parent_task_id)
_UNSETTLED_BELOW = _counting(_T.root_task_id)
_GLANCED_BYTES = 4096
"""Bytes of directive and result with which a task is read at a glance."""
_LONG = ("directive", "last_result")
_GLANCE = Statement(
    sa.select(
        *(TASKS.read(sa.column(name), most=_GLANCED_BYTES if name in _LONG else None) for name in TASKS.codec.names),
        TASKS.length(sa.column("directive")) + sa.func.coalesce(TASKS.length(sa.column("last_result")), 0),
    )
    .select_from(schema.tasks)
    .where(_T.id == sa.bindparam("of_task"))
)
_STATUS, _VERSION, _NAMESPACE = map(TASKS.codec.names.index, ("status", "version", "namespace"))


_create = fresh(
    Task,
    (
        *("id", "agent", "directive", "spawn_depth", "parent_task_id", "session_id", "creator_jti", "labels", "retry"),
        *("attempt_timeout_ms", "created_at", "updated_at", "root_task_id", "namespace", "expands", "trace"),
    ),
    status=Status.PENDING,
    attempt=0,
    live=False,
    asked=0,
    open_questions=0,
    version=1,
)
"""Creates a new task."""


class Glance(NamedTuple):
    """A look at a task: its version, whether it is what was waited for, and the task unless it is large."""

    version: int
    is_news: bool
    state: TaskState | None


def check_spec(spec: TaskSpec) -> None:
    """Raise InvalidName for an agent or label, InvalidRequest for a timeout that cannot be."""
    names.check_name(spec.agent, "agent")
    names.check_labels(spec.labels or {})
    if spec.attempt_timeout_ms is not None and spec.attempt_timeout_ms <= 0:
        raise InvalidRequest("give more than 0, or leave it out for no timeout", "attempt_timeout")


def check_directive(limits: Limits, text: str, *, subject: str = "What was sent") -> None:
    """Raise PayloadTooLarge, whose message names the `subject`, for a directive or prompt beyond the limit."""
    # A character has 4 bytes at most: of short texts no bytes are made.
    if len(text) > limits.directive_bytes // 4 and len(text.encode(errors="replace")) > limits.directive_bytes:
        raise PayloadTooLarge("directive", limits.directive_bytes, subject=subject)


def start(state: State, cfg: EngineCfg, caller: Caller, spec: TaskSpec, *, expands: bool = True) -> Task:
    """Create a pending task; a worker's is a child of its own task.

    `expands` tells whether its author may read what the directive's placeholders name.

    Raises SpawnDepthExceeded, QuotaExceeded, InvalidRequest, PayloadTooLarge.
    """
    check_spec(spec)
    check_directive(cfg.limits, spec.initial_directive)
    parent = _parent(state, cfg, caller)
    # In the order of the fields of `_create`.
    task = _create(
        state.ids.task(),
        spec.agent,
        Json.of(spec.initial_directive),
        parent.spawn_depth + 1 if parent else 0,
        parent.id if parent else None,
        parent.session_id if parent else session_of(state, caller),
        caller.jti,
        Json.of(spec.labels) if spec.labels else NO_MEMBERS,
        Json.of(asdict(spec.retry)) if spec.retry else None,
        spec.attempt_timeout_ms or cfg.attempt_timeout_ms,
        state.now,
        state.now,
        (parent.root_task_id or parent.id) if parent else None,
        caller.namespace,
        expands,
        None if parent is None and state.trace is None else _trace(state, cfg, parent),
    )
    TASKS.insert(state.db, task)
    if task.trace is not None:
        state.carry_trace(task.id, task.trace)
    for name, value in (spec.labels or {}).items():
        _INSERT_LABEL.change(state.db, namespace=task.namespace, name=name, value=value, task_id=task.id)
    below: dict[str, Any] = {"parent_task_id": parent.id} if parent else {}
    state.emit(
        EventKind.TASK_CREATED,
        namespace=task.namespace,
        task_id=task.id,
        session_id=task.session_id,
        agent=task.agent,
        **below,
    )
    return task


def _trace(state: State, cfg: EngineCfg, parent: Task | None) -> str | None:
    """Return the context of a new task: that of the call, or what a child has from the attempt that started it."""
    given = state.trace
    if parent is None or (given is not None and not given.begun):
        return None if given is None else given.text
    return context_of_attempt(parent, parent.attempt) if cfg.writes_spans else parent.trace


def _parent(state: State, cfg: EngineCfg, caller: Caller) -> Task | None:
    if caller.role is not Role.WORKER:
        lock_credential(state, caller)
        return None
    worker = bound_rows(state, caller)
    require_live(worker)
    depth = worker.task.spawn_depth + 1
    if depth > cfg.max_spawn_depth:
        raise SpawnDepthExceeded(depth, cfg.max_spawn_depth)
    _require_room(state, cfg.limits, worker.task)
    return worker.task


def _require_room(state: State, limits: Limits, parent: Task) -> None:
    """Raise QuotaExceeded unless one more task may be unsettled below this one, and below the root of its tree."""
    if _count(_UNSETTLED_CHILDREN, state, parent.id, limits.children) >= limits.children:
        raise QuotaExceeded("children", limits.children)
    root = parent.root_task_id or parent.id
    if _count(_UNSETTLED_BELOW, state, root, limits.descendants) >= limits.descendants:
        raise QuotaExceeded("descendants", limits.descendants)


def _count(statement: Statement, state: State, task_id: str, most: int) -> int:
    return int(statement.query(state.db, of_task=task_id, most=most)[0][0])


def write(state: State, task: Task, **changes: Any) -> None:
    """Write these fields of the task under a new version, and wake its waiters."""
    TASKS.update(state.db, task.id, **changes, version=task.version + 1, updated_at=state.now)
    state.wake(f"task:{task.id}")


def change(state: State, task: Task, **changes: Any) -> Task:
    """Write these fields of the task as `write` does, and return the changed task."""
    write(state, task, **changes)
    return changed(task, **changes, version=task.version + 1, updated_at=state.now)


def view(state: State, task: Task) -> TaskState:
    """Return the task with the keys of its open questions."""
    if not task.open_questions:
        return TaskState(task, ())
    return TaskState(task, tuple(key for (key,) in _OPEN_KEYS.query(state.db, task_id=task.id)))


def glance(state: State, caller: Caller, task_id: str, since: int | None, *, end: bool = False) -> Glance:
    """Look at a task, and read it if it is news or `end`, unless it is large. Raises TaskNotFound."""
    rows = _GLANCE.query(state.db, of_task=task_id)
    if not rows or not reaches(caller, rows[0][_NAMESPACE]):
        raise TaskNotFound(task_id)
    *cells, size = rows[0]
    version = cells[_VERSION]
    is_news = cells[_STATUS] in AWAITED or (since is not None and version > since)
    if not (is_news or end) or size > BESIDE_THE_LOOP_BYTES:
        return Glance(version, is_news, None)
    task = TASKS.codec.decode(cells) if size <= _GLANCED_BYTES else require_task(state, task_id, caller)
    return Glance(version, is_news, view(state, task))


def post_interim(state: State, caller: Caller, task_id: str, value: Json) -> Task:
    """Record an interim `last_result`; never a status. Refused on a task whose result is final."""
    require_access(state, caller, task_id, Verb.POST_RESULT)
    if caller.role is Role.WORKER:
        worker = bound_rows(state, caller)
        require_live(worker)
        task = worker.task
    else:
        task = lock_task(state, task_id, caller)
    if task.status in TERMINAL:
        raise InvalidTransition(task.id, task.status.value, Verb.POST_RESULT.value, "its result is final")
    state.emit(
        EventKind.RESULT_POSTED,
        namespace=task.namespace,
        task_id=task.id,
        attempt=task.attempt,
        by=caller.subject,
    )
    return change(state, task, last_result=value, result_of=None)


def inject(state: State, limits: Limits, caller: Caller, task_id: str, prompt: str) -> Task:
    """Set the prompt of the next attempt. Raises PayloadTooLarge, and InvalidTransition on a terminal task."""
    check_directive(limits, prompt)
    task = lock_task(state, task_id, caller)
    if task.status in TERMINAL:
        raise InvalidTransition(task.id, task.status.value, Verb.INJECT_DIRECTIVE.value, "no attempt follows")
    state.emit(
        EventKind.DIRECTIVE_INJECTED,
        namespace=task.namespace,
        task_id=task.id,
        attempt=task.attempt,
        by=caller.subject,
    )
    text = Json.of(prompt)
    audit.record(state, caller, "directive_injected", target=task.id, namespace=task.namespace, **audit.value(text))
    return change(state, task, next_prompt=text)
