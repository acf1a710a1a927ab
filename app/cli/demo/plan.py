"""The tasks of the demo, planned before any of them is started."""

from __future__ import annotations

import json
from dataclasses import dataclass

from app.cli.demo.corpus import Corpus
from app.cli.demo.queue_worker import QUEUE
from swarmhold.models.spawners import ExternalSpawner, ProcessSpawner, QueueSpawner

MAX_SUMMARIES = 8
MAX_SURVEYED = 16
MAX_CHOICES = 6

Spawner = ExternalSpawner | ProcessSpawner | QueueSpawner


@dataclass(frozen=True, slots=True, kw_only=True)
class PlannedTask:
    """A task to start: its agent, its files, and the spawner of its worker."""

    agent: str
    paths: tuple[str, ...]
    spawner: Spawner

    @property
    def directive(self) -> str:
        """The prompt that the worker fetches."""
        one = self.agent not in ("surveyor", "editor")
        return json.dumps({"path": self.paths[0]} if one else {"paths": self.paths})

    @property
    def key(self) -> str:
        """The idempotency key of the task."""
        return f"{self.agent}-{self.paths[0]}"


def make_plan(corpus: Corpus) -> list[PlannedTask]:
    """Plan all tasks; those that take longest come first."""
    queue, program = QueueSpawner(queue=QUEUE), ProcessSpawner(program="summariser")
    choices = corpus.documents[:MAX_CHOICES]
    return [
        PlannedTask(agent="editor", paths=choices, spawner=ExternalSpawner()),
        PlannedTask(agent="surveyor", paths=corpus.surveyed[:MAX_SURVEYED], spawner=ExternalSpawner()),
        PlannedTask(agent="stumbler", paths=corpus.documents[:1], spawner=queue),
        *(PlannedTask(agent="summariser", paths=(name,), spawner=program) for name in corpus.documents[:MAX_SUMMARIES]),
        *(PlannedTask(agent=agent, paths=(name,), spawner=queue) for name in corpus.files for agent in READERS),
    ]


READERS = ("statistician", "inspector")
