"""The server as a whole: counts, whether dispatching is paused, named resources. What is counted may grow."""

from __future__ import annotations

from pydantic import Field

from swarmhold.models.instants import Instant
from swarmhold.models.shapes import JsonValue, Shape

__all__ = [
    "AttemptCount",
    "HeldAttempt",
    "History",
    "ListeningWorker",
    "LoopState",
    "LoopSwitch",
    "Minute",
    "Node",
    "Nodes",
    "Queue",
    "Resource",
    "Stats",
    "WorkerQueue",
    "Workers",
]


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


class Minute(Shape):
    """A minute from the instant `at`: what happened in it, and how things stood at its beginning."""

    at: Instant
    created: int = 0
    started: int = 0
    passed: int = 0
    blocked: int = 0
    cancelled: int = 0
    pending: int = 0
    running: int = 0
    suspended: int = 0
    queued: int = 0
    open_questions: int = 0
    oldest_question_at: Instant | None = None


class History(Shape):
    """Whole minutes, oldest first, without the one that is under way. What happened may be added seconds later."""

    items: list[Minute]


class WorkerQueue(Shape):
    """A queue that a worker listens to, or did until lately."""

    queue: str
    listening: bool
    since: Instant
    last_seen: Instant


class HeldAttempt(Shape):
    """An attempt that a worker holds."""

    task_id: str
    attempt: int
    agent: str
    queue: str
    since: Instant
    last_seen_at: Instant | None = None


class ListeningWorker(Shape):
    """A queue worker: which queues it listens to, and the first of the `held` attempts that it holds."""

    worker: str
    key_id: str
    key_name: str | None = None
    queues: list[WorkerQueue]
    held: int
    holds: list[HeldAttempt]


class Queue(Shape):
    """How many workers listen to a queue, and how many attempts wait in it."""

    queue: str
    workers: int
    waiting: int


class Workers(Shape):
    """The queue workers of a namespace by name, 1,000 at most, and its queues."""

    items: list[ListeningWorker]
    queues: list[Queue]
