"""Attempts that a server process has to drive: found a page at a time, and taken over from a dead one."""

from __future__ import annotations

import sqlalchemy as sa

from app.domain.access import ENGINE
from app.domain.attempts import Attempt, Phase
from app.engine.ops.attempts import load
from app.engine.ops.queries import lock_task
from app.spawning.ports import Job
from app.state import schema
from app.state.state import State
from app.state.tables import ATTEMPTS

_A = schema.attempts.c
_OPEN = sa.text("phase <> 'ended'")
_AFTER = sa.tuple_(_A.task_id, _A.attempt) > sa.tuple_(sa.bindparam("task_id"), sa.bindparam("number"))
_ORDER = (_A.task_id, _A.attempt)
_ATTACHED = ATTEMPTS.search(_OPEN, sa.text("detached = 0"), _AFTER, order=_ORDER, limit=True)
_LAYERED = ATTEMPTS.search(_OPEN, sa.text("detached = 1"), sa.text("steps = 1"), _AFTER, order=_ORDER, limit=True)

Position = tuple[str, int]
"""Task and number of the attempt at which a page ended."""

FIRST_PAGE: Position = ("", 0)


def to_drive(state: State, after: Position, limit: int) -> list[Attempt]:
    """Return open attempts that some server process has to drive, in order, from after a position."""
    task_id, number = after
    attached = _ATTACHED.all(state.db, task_id=task_id, number=number, limit=limit)
    layered = _LAYERED.all(state.db, task_id=task_id, number=number, limit=limit)
    return sorted(attached + layered, key=position_of)[:limit]


def position_of(attempt: Attempt) -> Position:
    """Return the position after which the next page begins."""
    return attempt.task_id, attempt.attempt


def take_over(state: State, task_id: str, number: int, owner: str, base_url: str) -> tuple[Attempt, Job] | None:
    """Make `owner` the attempt's server process and fence off the one before. None when the attempt is ended."""
    lock_task(state, task_id, ENGINE)
    attempt = ATTEMPTS.get(state.db, task_id, number)
    if attempt is None or attempt.phase is Phase.ENDED:
        return None
    ATTEMPTS.update(state.db, task_id, number, owner=owner, epoch=attempt.epoch + 1)
    state.wake(f"attempt:{task_id}")
    return load(state, task_id, number, base_url)
