"""Put the attempt into a named queue until a worker process claims it from the engine."""

from __future__ import annotations

from typing import Any

from app.domain.attempts import Phase
from app.spawning.specs import integer, only_fields, text
from app.spawning.workers import DetachedSpawner

LOWEST_PRIORITY = -(2**31)
HIGHEST_PRIORITY = 2**31 - 1


class QueueSpawner(DetachedSpawner):
    """`{kind: queue, queue, priority?}`. Among attempts that wait, those of higher priority are claimed first."""

    kind = "queue"
    first_phase = Phase.QUEUED
    leased = True

    __slots__ = ("priority", "queue")

    def __init__(self, queue: str, *, priority: int = 0) -> None:
        self.queue = queue
        self.priority = priority

    @property
    def spec(self) -> dict[str, Any]:
        """The spec that is recorded with the attempt."""
        return {"kind": self.kind, "queue": self.queue, "priority": self.priority}


def build_queue(spec: dict[str, Any]) -> QueueSpawner:
    """Build from `{kind: queue, queue, priority?}`. Raises DispatchFailed."""
    only_fields(spec, ("queue", "priority"))
    priority = integer(spec, "priority", default=0, low=LOWEST_PRIORITY, high=HIGHEST_PRIORITY)
    return QueueSpawner(text(spec, "queue"), priority=priority)
