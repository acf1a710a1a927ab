"""Counts of the whole server. What is counted may grow."""

from __future__ import annotations

from pydantic import Field

from swarmhold.models.instants import Instant
from swarmhold.models.loops import LoopState
from swarmhold.models.shapes import Shape

__all__ = ["AttemptCount", "Stats"]


class AttemptCount(Shape):
    """How many attempts of a kind of spawner are in a phase, ended ones left out."""

    spawner: str
    phase: str
    count: int


class Stats(Shape):
    """Counts by status, live attempts, the open questions' oldest, what waits in each queue, and dispatching."""

    tasks: dict[str, int] = Field(default_factory=dict)
    questions: dict[str, int] = Field(default_factory=dict)
    oldest_open_question_at: Instant | None = None
    sessions: dict[str, int] = Field(default_factory=dict)
    attempts: list[AttemptCount] = Field(default_factory=list[AttemptCount])
    queues: dict[str, int] = Field(default_factory=dict)
    webhooks: dict[str, int] = Field(default_factory=dict)
    loop: LoopState | None = None
