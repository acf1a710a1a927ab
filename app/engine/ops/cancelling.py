"""Cancel a task and its descendants, or the tasks of a session, in batches that hold the store briefly.

The root is cancelled at once, with its descendants if they are few. Of a large tree a mark stays in the database until
the last descendant is cancelled, so that another server process can go on where this one stopped. Nothing starts below
a cancelled task meanwhile but children of workers that are still to be cancelled; they are found by looking again.

Of a session with many tasks a mark stays as well. It holds the instant, since the session may come back and start more.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import sqlalchemy as sa

from app.domain.access import ENGINE, Caller, Verb
from app.domain.attempts import Reason
from app.domain.errors import TaskNotFound
from app.domain.tasks import TERMINAL, Status, Step, Task, step
from app.engine.ops import audit
from app.engine.ops.access import require_access
from app.engine.ops.queries import lock_task
from app.engine.ops.settling import UNCHANGED, end_live, settled_task
from app.state import schema
from app.state.state import State
from app.state.statements import Statement
from app.state.tables import TASKS, delete_meta, get_meta, list_meta, set_meta

BATCH = 25
"""How many tasks one transaction cancels at most."""
MOST = 1_000_000
TOPIC = "cancelling"

_MARK = "cancelling:"
_K, _T = schema.tokens.c, schema.tasks.c
_REVOKE_TOKENS = Statement(
    sa.update(schema.tokens)
    .where(_K.task_id == sa.bindparam("of_task"), _K.revoked_at.is_(None))
    .values(revoked_at=sa.bindparam("at"))
)


def _descendants() -> Statement:
    below = sa.select(_T.id, _T.status).where(_T.parent_task_id == sa.bindparam("root")).cte("below", recursive=True)
    child = schema.tasks.alias("child").c
    below = below.union_all(sa.select(child.id, child.status).where(child.parent_task_id == below.c.id))
    return Statement(sa.select(below.c.id, below.c.status).limit(sa.bindparam("most")))


_DESCENDANTS = _descendants()
_OF_SESSION = TASKS.search(
    _T.session_id == sa.bindparam("session"),
    _T.id > sa.bindparam("after"),
    _T.created_at <= sa.bindparam("before"),
    _T.status.not_in([status.value for status in sorted(TERMINAL)]),
    order=(_T.id,),
    limit=True,
)


def cancel(state: State, caller: Caller, task_id: str, reason: str | None) -> Task:
    """Cancel the task, and its descendants unless `is_unfinished` says otherwise afterwards.

    Cancelling a cancelled task succeeds and does nothing. Raises TaskNotFound, TokenTaskMismatch, InvalidTransition (a
    passed task).
    """
    require_access(state, caller, task_id, Verb.CANCEL_TASK)
    task = lock_task(state, task_id, caller)
    if task.status is Status.CANCELLED:
        return task
    step(task.id, task.status, Step.CANCEL)
    task = _cancel_asked(state, caller, task, reason)
    _cancel_below(state, task, by=caller.subject, room=BATCH)
    return task


def cancel_some(state: State, caller: Caller, ids: Sequence[str], reason: str | None) -> int:
    """Cancel these tasks and what is below them; return how many were. Those that are over are left.

    A task that is out of the caller's reach is left as well.
    """
    done, room = 0, BATCH
    for id in sorted(ids):
        try:
            task = lock_task(state, id, caller)
        except TaskNotFound:
            continue
        if task.status not in TERMINAL:
            task = _cancel_asked(state, caller, task, reason)
            room -= _cancel_below(state, task, by=caller.subject, room=room)
            done += 1
    return done


def _cancel_asked(state: State, caller: Caller, task: Task, reason: str | None) -> Task:
    why: dict[str, Any] = {"reason": reason} if reason else {}
    audit.record(state, caller, "task_cancelled", target=task.id, namespace=task.namespace, **why)
    return _cancel_one(state, task, by=caller.subject, reason=reason)


def _cancel_below(state: State, task: Task, *, by: str, room: int) -> int:
    """Cancel the descendants of a cancelled task if there are no more than `room`, else mark it; return how many."""
    below = _ids_below(state, task.id, room + 1)
    if len(below) > room:
        set_meta(state.db, _MARK + task.id, by)
        state.wake(TOPIC)
        return 0
    cancel_all(state, below, by=by)
    return len(below)


def cancel_tasks_of(state: State, session_id: str) -> None:
    """Cancel the tasks that a session has now; of many the first ones, with a mark for the others."""
    set_meta(state.db, _MARK + session_id, str(state.now))
    if cancel_more_of(state, session_id, after="") is not None:
        state.wake(TOPIC)


def cancel_more_of(state: State, session_id: str, *, after: str) -> str | None:
    """Cancel the next tasks that a session had, after the task `after`; return the last of them, None at the end."""
    given_up_at = get_meta(state.db, _MARK + session_id)
    found = _OF_SESSION.all(state.db, session=session_id, before=int(given_up_at or 0), after=after, limit=BATCH)
    room = BATCH
    for row in found:
        task = lock_task(state, row.id, ENGINE)
        if task.status not in TERMINAL:
            _cancel_one(state, task, by=ENGINE.subject, reason=f"session {session_id} missed its heartbeats")
            room -= _cancel_below(state, task, by=ENGINE.subject, room=room)
    if len(found) == BATCH:
        return found[-1].id
    delete_meta(state.db, _MARK + session_id)
    return None


def mark_of(id: str) -> str:
    """Return the name of the setting that stands in the database while there is something left to do."""
    return _MARK + id


def is_unfinished(state: State, task_id: str) -> bool:
    """Return whether descendants of this cancelled task are still to be cancelled."""
    return get_meta(state.db, _MARK + task_id) is not None


def unfinished(state: State) -> list[str]:
    """Return the cancelled tasks whose descendants, and the sessions whose tasks, are still to be cancelled."""
    return [name.removeprefix(_MARK) for name in list_meta(state.db, _MARK)]


def left_below(state: State, task_id: str) -> tuple[str | None, list[str], bool]:
    """Return who cancelled the task (None: all is done), its descendants, and whether any of them is not cancelled."""
    by = get_meta(state.db, _MARK + task_id)
    if by is None:
        return None, [], False
    found = _DESCENDANTS.query(state.db, root=task_id, most=MOST)
    return by, sorted(row[0] for row in found), any(Status(row[1]) not in TERMINAL for row in found)


def cancel_all(state: State, ids: list[str], *, by: str) -> None:
    """Cancel descendants of a cancelled task. One that passed keeps its result; its tokens are revoked."""
    for id in ids:
        task = lock_task(state, id, ENGINE)
        if task.status in TERMINAL:
            _REVOKE_TOKENS.change(state.db, of_task=task.id, at=state.now)
        else:
            _cancel_one(state, task, by=by, reason=f"{task.parent_task_id} was cancelled")


def finish(state: State, task_id: str) -> None:
    """Record that no descendant of the task is left to be cancelled."""
    delete_meta(state.db, _MARK + task_id)


def _ids_below(state: State, task_id: str, most: int) -> list[str]:
    # Ids sort by age: parents are locked before their children, as everywhere.
    return sorted(row[0] for row in _DESCENDANTS.query(state.db, root=task_id, most=most))


def _cancel_one(state: State, task: Task, *, by: str, reason: str | None) -> Task:
    end_live(state, task, Reason.CANCELLED, Status.CANCELLED, reason)
    _REVOKE_TOKENS.change(state.db, of_task=task.id, at=state.now)
    data = {"by": by} | ({"reason": reason} if reason else {})
    return settled_task(state, task, Status.CANCELLED, result=UNCHANGED, **data)
