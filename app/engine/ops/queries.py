"""Look-ups that several modules share; a search with one user stands beside that user."""

from __future__ import annotations

import sqlalchemy as sa

from app.domain.access import Caller
from app.domain.errors import TaskNotFound
from app.domain.namespaces import ALL_ID
from app.domain.questions import QuestionStatus
from app.domain.tasks import Task
from app.state import schema
from app.state.state import State
from app.state.tables import LATE_RESULTS, NAMESPACES, QUESTIONS, TASKS

_T, _Q, _L = schema.tasks.c, schema.questions.c, schema.late_results.c
_NAMESPACES = NAMESPACES.search()
_OPEN = _Q.status == QuestionStatus.OPEN.value

CHILDREN = TASKS.search(_T.parent_task_id == sa.bindparam("parent"), order=(_T.id,))
"""The tasks that were spawned directly under `parent`."""

OPEN_QUESTIONS = QUESTIONS.search(_Q.task_id == sa.bindparam("task_id"), _OPEN, order=(_Q.key,))
"""The open questions of one task, oldest first."""

LATE_RESULTS_OF_ATTEMPT = LATE_RESULTS.search(
    _L.task_id == sa.bindparam("task_id"), _L.attempt == sa.bindparam("number"), order=(_L.index,)
)
"""The results that came after the attempt was over, in order."""


def queue_topic(namespace: int, queue: str) -> str:
    """Return the topic that is woken when something waits in a queue."""
    return f"queue:{namespace}:{queue}"


def learn_names(state: State, *namespaces: int) -> None:
    """Read the names of all namespaces, unless those of these are known: another node may have made one just now."""
    if any(namespace not in state.names for namespace in namespaces):
        state.names.update((row.id, row.name) for row in _NAMESPACES.all(state.db))


def reaches(caller: Caller, namespace: int) -> bool:
    """Return whether what lies in the namespace exists for the caller.

    Whatever looks something up by an id that a caller gave asks this, and answers as for an id that never was.
    """
    return namespace == caller.namespace or caller.namespace == ALL_ID


def require_task(state: State, task_id: str, caller: Caller) -> Task:
    """Return the task, for reading. Raises TaskNotFound, also when it lies out of the caller's reach."""
    task = TASKS.get(state.db, task_id)
    if task is None or not reaches(caller, task.namespace):
        raise TaskNotFound(task_id)
    return task


def lock_task(state: State, task_id: str, caller: Caller) -> Task:
    """Return the task, locked against every other transaction until this one ends.

    Raises TaskNotFound, also when it lies out of the caller's reach.
    """
    task = TASKS.lock(state.db, task_id)
    if task is not None and task.result_of is not None and task.last_result is None:
        # The statement waited for the row, and sees the attempt as it was before.
        task = TASKS.get(state.db, task_id)
    if task is None or not reaches(caller, task.namespace):
        raise TaskNotFound(task_id)
    if task.trace is not None:
        state.carry_trace(task.id, task.trace)
    return task
