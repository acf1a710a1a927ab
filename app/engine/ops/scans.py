"""Find stranded rows: unsettled ones for which nothing is going to happen. For `doctor` and a metric.

Whatever is unsettled waits for a timer, a worker, a claim, a senior or an operator. A row that is found here waits for
none of them, or for one that is long overdue; it points at a fault, and an operator can still settle it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, cast

import sqlalchemy as sa

from app.engine.ops import loop
from app.state import schema
from app.state.state import State
from app.state.statements import Statement

OVERDUE_MS = 60_000
"""A timer that is later than this is overdue rather than busy."""

_T, _A, _Q = schema.tasks.c, schema.attempts.c, schema.questions.c
_OPEN_ATTEMPT = sa.text("attempts.phase <> 'ended'")
_LATE, _LIMIT = cast(Any, sa.bindparam("late")), cast(Any, sa.bindparam("limit"))


@dataclass(frozen=True, slots=True, kw_only=True)
class Stranded:
    """A stranded row, and what is wrong with it."""

    task_id: str
    what: str


def _of_attempts(*conditions: Any) -> Statement:
    joined = schema.attempts.join(schema.tasks, _T.id == _A.task_id)
    return Statement(sa.select(_A.task_id).select_from(joined).where(_OPEN_ATTEMPT, *conditions).limit(_LIMIT))


def _of_tasks(*conditions: Any) -> Statement:
    return Statement(sa.select(_T.id).where(*conditions).limit(_LIMIT))


def _of_questions(*conditions: Any) -> Statement:
    joined = schema.questions.join(schema.tasks, _T.id == _Q.task_id)
    return Statement(sa.select(_Q.task_id).select_from(joined).where(*conditions).limit(_LIMIT))


_LIVE = sa.text("attempts.phase <> 'finishing'")
_HAS_OPEN_ATTEMPT = sa.exists().where(_A.task_id == _T.id, _A.attempt == _T.attempt, _OPEN_ATTEMPT)
_HAS_OPEN_QUESTION = sa.exists().where(_Q.task_id == _T.id, _Q.status == sa.text("'open'"))
_IS_OPEN = _Q.status == sa.text("'open'")

_SCANS = (
    (
        "a live attempt has no timer",
        _of_attempts(sa.text("attempts.phase = 'running'"), _A.due_at.is_(None), _A.paused_at.is_(None)),
    ),
    ("an attempt's timer is overdue", _of_attempts(_A.due_at < _LATE)),
    (
        "an attempt is live under a task that is not",
        _of_attempts(_LIVE, sa.text("tasks.status NOT IN ('running', 'suspended')")),
    ),
    ("an attempt is live though a newer one began", _of_attempts(_LIVE, _A.attempt < _T.attempt)),
    (
        "an attempt's clocks stand still without a question",
        _of_attempts(_A.paused_at.is_not(None), _T.status == sa.text("'running'")),
    ),
    ("the task has a live attempt that is not there", _of_tasks(_T.live == 1, ~_HAS_OPEN_ATTEMPT)),
    ("the task is suspended without an open question", _of_tasks(_T.status == "suspended", ~_HAS_OPEN_QUESTION)),
    (
        "an open question belongs to a task that does not wait",
        _of_questions(_IS_OPEN, _T.status != sa.text("'suspended'")),
    ),
    (
        "a question's deadline has no timer",
        _of_questions(
            _IS_OPEN,
            _Q.deadline.is_not(None),
            _Q.due_at.is_(None),
            _Q.on_deadline != sa.text("'keep_waiting'"),
            # A question that was passed on to another bridge at its deadline has no further one.
            sa.text("NOT (questions.on_deadline = 'escalate' AND questions.bridge_id = questions.escalate_to)"),
        ),
    ),
    ("a question's deadline is overdue", _of_questions(_IS_OPEN, _Q.due_at < _LATE)),
)
_RETRIES = ("a retry is overdue", _of_tasks(_T.retry_at < _LATE, ~loop.IS_PAUSED))
"""While dispatching is paused, retries are rightly held back."""


def stranded(state: State, *, limit: int = 100) -> list[Stranded]:
    """Return stranded rows, at most `limit` of each kind. Reads much: not for the path of a request."""
    scans = _SCANS if loop.all_paused(state) else (*_SCANS, _RETRIES)
    late = state.now - OVERDUE_MS
    return [
        Stranded(task_id=task_id, what=what)
        for what, scan in scans
        for (task_id,) in scan.query(state.db, late=late, limit=limit)
    ]
