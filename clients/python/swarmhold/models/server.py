"""The server as a whole: counts, whether dispatching is paused, named resources. What is counted may grow."""

from __future__ import annotations

from pydantic import Field

from swarmhold.models.instants import Instant
from swarmhold.models.shapes import JsonValue, Shape

__all__ = ["AttemptCount", "LoopState", "LoopSwitch", "Node", "Nodes", "Resource", "Stats"]


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


class LoopSwitch(Shape):
    """`by` and `since` say who paused or resumed dispatching last, and when; null when nobody ever did."""

    paused: bool
    by: str | None
    since: Instant | None


class LoopState(LoopSwitch):
    """The switch of the caller's namespace, and that of `all`: dispatching is paused while one of them says so."""

    all: LoopSwitch | None = None


class Node(Shape):
    """A server process that shares the database. It is alive while its heartbeats, the last at `seen_at`, arrive.

    A draining node finishes what it has and takes on nothing more.
    """

    id: str
    url: str
    version: str
    started_at: Instant
    seen_at: Instant
    draining: bool
    alive: bool


class Nodes(Shape):
    """The nodes in the order of their starts; dead ones for an hour."""

    items: list[Node]


class Resource(Shape):
    """A named value and when it was last set."""

    key: str
    value: JsonValue
    updated_at: Instant
