"""Attempts that a node has to drive: those of this node, those that it may claim, and the hand-over between nodes.

An attempt with a driver belongs to a node (`owner`) under an epoch. Nobody assigns it: a node that stops, is declared
dead or hands an attempt over leaves rows behind, and any node that can do the next step claims them. What another
transaction has locked is passed over, so that nodes which claim at once share the work.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, NamedTuple

import sqlalchemy as sa

from app.domain.access import ENGINE
from app.domain.attempts import Attempt, Phase
from app.domain.json import Json
from app.engine.ops.attempts import load
from app.engine.ops.queries import lock_task
from app.engine.ops.rules import EngineCfg
from app.spawning.ports import Job
from app.state import schema
from app.state.state import State
from app.state.statements import Statement
from app.state.tables import ATTEMPTS

TOPIC = "undriven"
"""Woken when there may be attempts that a node can claim."""

_A, _T, _N, _R = schema.attempts.c, schema.tasks.c, schema.nodes.c, schema.registrations.c
_DRIVEN = sa.text("attempts.phase <> 'ended' AND (attempts.detached = 0 OR attempts.steps = 1)")
_AFTER = sa.tuple_(_A.task_id, _A.attempt) > sa.tuple_(sa.bindparam("task_id"), sa.bindparam("number"))
_ORDER = (_A.task_id, _A.attempt)
_OWN = ATTEMPTS.search(_DRIVEN, _A.owner == sa.bindparam("of_node"), _AFTER, order=_ORDER, limit=True)
_OWNED = sa.exists().where(_N.id == _A.owner, _N.dead_at.is_(None))
_NEEDED_ELSEWHERE = sa.exists().where(
    _R.namespace == _A.namespace, _R.name == _A.waits_for, _R.node != sa.bindparam("of_node")
)
_CLAIMABLE = (
    sa.select(_A.task_id, _A.attempt)
    .select_from(schema.attempts.join(schema.tasks, _T.id == _A.task_id))
    .where(_DRIVEN, sa.not_(_OWNED), sa.not_(_NEEDED_ELSEWHERE))
    .limit(sa.bindparam("limit", type_=sa.Integer))
)
_DEAD = Statement(sa.select(_N.id).where(_N.dead_at.is_not(None)))
_LOOK = Statement(_CLAIMABLE)
_CLAIM = Statement(_CLAIMABLE.with_for_update(of=schema.tasks, skip_locked=True))

Position = tuple[str, int]
"""Task and number of the attempt at which a page ended."""

FIRST_PAGE: Position = ("", 0)


class Claimed(NamedTuple):
    """An attempt that a node has claimed. `from_dead`: a node that died drove it before."""

    attempt: Attempt
    job: Job
    from_dead: bool


def driven_by(state: State, node: str, after: Position, limit: int) -> list[Attempt]:
    """Return open attempts that a node drives, in order, from after a position."""
    task_id, number = after
    return _OWN.all(state.db, of_node=node, task_id=task_id, number=number, limit=limit)


def position_of(attempt: Attempt) -> Position:
    """Return the position after which the next page begins."""
    return attempt.task_id, attempt.attempt


def may_claim(state: State, node: str) -> bool:
    """Return whether there is an attempt that the node can claim, unless others are claiming it."""
    return bool(_LOOK.query(state.db, of_node=node, limit=1))


def claim(state: State, node: str, cfg: EngineCfg, limit: int) -> list[Claimed]:
    """Make `node` the owner of attempts that have none, and fence off those that drove them before.

    An attempt whose next step needs what another node has registered is left to that.
    """
    claimed: list[Claimed] = []
    found = _CLAIM.query(state.db, of_node=node, limit=limit)
    dead = {row[0] for row in _DEAD.query(state.db)} if found else set[str]()
    for task_id, number in found:
        # The row as it is now: it may have ended between the look and the lock.
        attempt = ATTEMPTS.get(state.db, task_id, number)
        if attempt is None or attempt.phase is Phase.ENDED:
            continue
        ATTEMPTS.update(state.db, task_id, number, owner=node, epoch=attempt.epoch + 1, waits_for=None)
        state.wake(f"attempt:{task_id}")
        claimed.append(Claimed(*load(state, cfg, task_id, number), from_dead=attempt.owner in dead))
    return claimed


def hand_over(state: State, task_id: str, number: int, *, epoch: int, waits_for: str, done: Iterable[str]) -> None:
    """Give up an attempt whose next step needs what another node has; nothing when it is over or not ours any more.

    `done` names steps that are not to be repeated.
    """
    lock_task(state, task_id, ENGINE)
    attempt = ATTEMPTS.get(state.db, task_id, number)
    if attempt is None or attempt.phase is Phase.ENDED or attempt.epoch != epoch:
        return
    record: dict[str, Any] = {} if attempt.process is None else attempt.process.value
    steps = sorted({*record.get("done", ()), *done})
    process = Json.of({**record, "done": steps}) if steps else attempt.process
    ATTEMPTS.update(state.db, task_id, number, owner=None, waits_for=waits_for, process=process)
    state.wake(TOPIC)
