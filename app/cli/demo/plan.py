"""What the swarm is to do: every task of the demo, before any of them is started."""

from __future__ import annotations

import json
from dataclasses import dataclass

from app.cli.demo.corpus import Corpus
from app.cli.demo.queue_worker import QUEUE
from swarmhold.models.spawners import ExternalSpawner, ProcessSpawner, QueueSpawner

MOST_SUMMARIES = 8
MOST_SURVEYED = 16
MOST_CHOICES = 6

Spawner = ExternalSpawner | ProcessSpawner | QueueSpawner


@dataclass(frozen=True, slots=True, kw_only=True)
class PlannedTask:
    """One task: who does it, on which files, and where its worker runs."""

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
        """Its name among the planned, which makes its calls repeatable."""
        return f"{self.agent}-{self.paths[0]}"


def make_plan(corpus: Corpus) -> list[PlannedTask]:
    """Every planned; those that take longest come first."""
    queue, program = QueueSpawner(queue=QUEUE), ProcessSpawner(program="summariser")
    choices = corpus.documents[:MOST_CHOICES]
    return [
        PlannedTask(agent="editor", paths=choices, spawner=ExternalSpawner()),
        PlannedTask(agent="surveyor", paths=corpus.surveyed[:MOST_SURVEYED], spawner=ExternalSpawner()),
        PlannedTask(agent="stumbler", paths=corpus.documents[:1], spawner=queue),
        *(
            PlannedTask(agent="summariser", paths=(name,), spawner=program)
            for name in corpus.documents[:MOST_SUMMARIES]
        ),
        *(PlannedTask(agent=agent, paths=(name,), spawner=queue) for name in corpus.files for agent in READERS),
    ]


READERS = ("statistician", "inspector")
