"""Turns in a queue: agents are served in rounds, so that one agent's flood keeps no other waiting.

Every attempt gets its turn when it is queued (start-time fair queueing: Goyal, Vin, Cheng 1996): one after the agent's
last that still waits, and never before the round that is being served. Claims take the lowest turn of the highest
priority, which an index answers; nothing is written for fairness but the attempt itself.
"""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa

from app.state import schema
from app.state.state import State
from app.state.statements import Statement

_A = schema.attempts.c
_OF_QUEUE = (
    _A.namespace == sa.bindparam("of_namespace"),
    _A.queue == sa.bindparam("of_queue"),
    _A.priority == sa.bindparam("of_priority"),
)
_SERVED = Statement(
    sa.select(sa.func.max(_A.turn)).where(*_OF_QUEUE, sa.text("queue IS NOT NULL AND phase <> 'queued'"))
)
_WAITING = Statement(
    sa.select(sa.func.max(_A.turn)).where(
        *_OF_QUEUE, _A.agent == sa.bindparam("of_agent"), sa.text("phase = 'queued' AND paused_at IS NULL")
    )
)


def next_turn(state: State, namespace: int, queue: str, priority: int, agent: str) -> int:
    """Return the turn of an attempt of this agent that is queued now."""
    line: dict[str, Any] = {"of_namespace": namespace, "of_queue": queue, "of_priority": priority}
    served = _SERVED.query(state.db, **line)[0][0]
    waiting = _WAITING.query(state.db, **line, of_agent=agent)[0][0]
    return max(turn + 1 for turn in (served, waiting, -1) if turn is not None)
