"""What a new server process finds: attempts that another one was driving."""

from __future__ import annotations

from typing import NamedTuple

import sqlalchemy as sa

from app.domain.attempts import Attempt, Phase
from app.domain.tasks import Task
from app.engine.ops import clocks, timers
from app.engine.ops.access import lock_task
from app.engine.ops.attempts import facts_for, require_attempt
from app.engine.ops.rules import EngineCfg
from app.spawning.ports import Facts, Job
from app.state import schema
from app.state.state import State
from app.state.statements import Statement
from app.state.tables import ATTEMPTS

_A = schema.attempts.c
_OPEN = sa.text("phase <> 'ended'")
_BEHIND = sa.or_(
    _A.kind > sa.bindparam("kind"),
    sa.and_(_A.kind == sa.bindparam("kind"), _A.task_id > sa.bindparam("task")),
    sa.and_(_A.kind == sa.bindparam("kind"), _A.task_id == sa.bindparam("task"), _A.attempt > sa.bindparam("number")),
)
_DRIVEN = ATTEMPTS.search(
    _OPEN,
    sa.text("kind NOT IN ('external', 'queue')"),
    _BEHIND,
    order=(_A.kind, _A.task_id, _A.attempt),
    limit=True,
)
_LAYERED = ATTEMPTS.search(
    _OPEN,
    sa.text("kind IN ('external', 'queue')"),
    sa.text("steps = 1"),
    _BEHIND,
    order=(_A.kind, _A.task_id, _A.attempt),
    limit=True,
)


class Walk(NamedTuple):
    """An attempt with what its driver needs."""

    task: Task
    attempt: Attempt
    facts: Facts


Place = tuple[str, str, int]
"""Kind, task and number of an attempt: where a page of orphans ended."""


_FULL = sa.cast(sa.bindparam("at"), sa.BigInteger) + _A.lease_ms
_GRACE = Statement(
    sa.update(schema.attempts)
    .where(_A.due_at.is_not(None), _A.lease_expires_at.is_not(None), _A.lease_expires_at < _FULL)
    .values(
        lease_expires_at=_FULL,
        handle_expires_at=sa.case((_A.handle_expires_at < _FULL, _FULL), else_=_A.handle_expires_at),
        due_at=sa.case((_A.timeout_at < _FULL, _A.timeout_at), else_=_FULL),
    )
)


def grant_grace(state: State) -> int:
    """Give every leased worker one whole lease from now; how many they were.

    While no server was there to hear them, their silence meant nothing. Timeouts go on: they are the task's own.
    """
    return _GRACE.change(state.db, at=state.now)


def orphans(state: State, after: Place, limit: int) -> list[Attempt]:
    """Open attempts that some server process has to walk, behind a place, a page at a time."""
    kind, task, number = after
    driven = _DRIVEN.all(state.db, kind=kind, task=task, number=number, limit=limit)
    layered = _LAYERED.all(state.db, kind=kind, task=task, number=number, limit=limit)
    return sorted(driven + layered, key=lambda a: (a.kind, a.task_id, a.attempt))[:limit]


def take_over(state: State, task_id: str, number: int, owner: str) -> Walk | None:
    """Make this server process the attempt's owner and fence off the one before. None when it is ended."""
    task = lock_task(state, task_id)
    attempt = ATTEMPTS.get(state.db, task_id, number)
    if attempt is None or attempt.phase is Phase.ENDED:
        return None
    ATTEMPTS.update(state.db, task_id, number, owner=owner, epoch=attempt.epoch + 1)
    state.wake(f"attempt:{task_id}")
    return read(state, task.id, number)


def read(state: State, task_id: str, number: int) -> Walk:
    """The attempt with what its driver needs."""
    task, attempt = require_attempt(state, task_id, number)
    return Walk(task, attempt, facts_for(state, task, attempt))


def job(walk: Walk, base_url: str) -> Job:
    """The attempt as its spawner sees it."""
    task, attempt = walk.task, walk.attempt
    return Job(
        facts=walk.facts,
        spec=attempt.spawner,
        prompt=(attempt.prompt or task.directive).value,
        system=attempt.system.value if attempt.system else None,
        base_url=base_url,
        started_at=attempt.started_at,
        timeout_at=attempt.timeout_at,
        process=attempt.process,
    )


def lost(state: State, task_id: str, number: int, detail: str) -> None:
    """Settle an attempt whose worker died with the server process before; what that left is ended already."""
    task = lock_task(state, task_id)
    attempt = ATTEMPTS.get(state.db, task_id, number)
    if attempt is not None and attempt.is_live and attempt.phase is not Phase.HELD:
        timers.lose(state, task, attempt, detail, worker_gone=True)


def finished(state: State, task_id: str, number: int) -> None:
    """What was left to do after the end is done."""
    attempt = ATTEMPTS.lock(state.db, task_id, number)
    if attempt is not None and attempt.phase is Phase.FINISHING:
        ATTEMPTS.update(state.db, task_id, number, phase=Phase.ENDED)
        state.wake(f"attempt:{task_id}")


def alive(state: State, cfg: EngineCfg, task_id: str, number: int, epoch: int) -> None:
    """The driver's own sign of life for a worker that it watches."""
    lock_task(state, task_id)
    attempt = ATTEMPTS.get(state.db, task_id, number)
    if attempt is not None and attempt.epoch == epoch:
        clocks.renew(state, cfg, attempt)
