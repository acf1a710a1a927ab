"""The base of all rigs: a spawner, and control over the workers that it starts."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from datetime import timedelta
from typing import ClassVar

from swarmhold import ApiProblem
from swarmhold.models.attempts import Dispatched
from swarmhold.models.enums import Phase
from swarmhold.models.shapes import JsonValue
from swarmhold.models.spawners import Spawner
from swarmhold.tasks import TaskCalls
from tests.support.rigs.stage import End, Stage
from tests.support.waiting import eventually


class ControlledWorker:
    """One worker under the test's control. This one runs outside the server; its handle is all it has."""

    def __init__(self, stage: Stage, task_id: str, attempt: int, handle: str) -> None:
        self.stage = stage
        self.task_id = task_id
        self.attempt = attempt
        self.handle = handle

    async def finish(self, value: JsonValue, *, ok: bool = True) -> None:
        """Let it do its work and submit the result."""
        await self.stage.worker(self.handle).submit(value, ok=ok)

    async def stop_noticed(self) -> None:
        """Wait until it learns that it must stop: from its own heartbeats, unless the server stops it."""

        async def noticed() -> bool:
            try:
                return (await self.stage.worker(self.handle).heartbeat()).cancelled
            except ApiProblem as problem:
                if problem.status not in (401, 409):
                    raise
                return True

        await eventually(noticed, awaited=f"the worker of {self.task_id} to learn that it must stop")

    async def vanish(self) -> None:
        """Let it send no more heartbeats."""


class Rig(ABC):
    """One way to run attempts."""

    kind: ClassVar[str]
    """The spawner's kind."""
    outlives: ClassVar[bool] = True
    """Whether its workers go on without the server."""
    broken: ClassVar[End]
    """How an attempt ends whose worker fails."""

    def __init__(self, stage: Stage) -> None:
        self.stage = stage

    @abstractmethod
    def spawner(self, task_id: str) -> Spawner:
        """What the task is dispatched with."""

    async def dispatch(
        self, task_id: str, *, layers: Sequence[str] = (), lease: float | None = None, by: TaskCalls | None = None
    ) -> Dispatched:
        """Begin an attempt, by the stage's operator unless another is given. `lease` is in seconds."""
        limit = None if lease is None else timedelta(seconds=lease)
        return await (by or self.stage.operator).dispatch(task_id, self.spawner(task_id), layers=layers, lease=limit)

    @abstractmethod
    async def worker(self, task_id: str, attempt: int = 1) -> ControlledWorker:
        """The attempt's worker, once it has begun."""

    async def begin(self, task_id: str, *, layers: Sequence[str] = (), lease: float | None = None) -> ControlledWorker:
        """A first attempt and its worker at work."""
        await self.dispatch(task_id, layers=layers, lease=lease)
        return await self.worker(task_id)

    async def running(self, task_id: str, attempt: int = 1) -> ControlledWorker:
        """The attempt's worker, once the server knows that it has begun."""
        worker = await self.worker(task_id, attempt)
        await self.stage.phase(task_id, Phase.RUNNING, attempt=attempt)
        return worker

    @abstractmethod
    async def breaks(self, worker: ControlledWorker) -> None:
        """Let the worker fail as such workers do."""
