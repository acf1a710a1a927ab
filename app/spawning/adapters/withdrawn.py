"""Stand-ins for spawners that the settings no longer allow: they watch or reap workers, but start none."""

from __future__ import annotations

from typing import Any

from app.domain.attempts import Phase
from app.spawning.adapters.http import ACCEPTED
from app.spawning.adapters.process import reap
from app.spawning.ports import Control, Job, SpawnFailed, Worker
from app.spawning.workers import RemoteWorker


class WithdrawnSpawner:
    """Stands for a spawner that cannot be built any more. `reason` is the error that its dispatcher gets."""

    first_phase = Phase.SPAWNING
    outlives_server = False
    leased = False

    __slots__ = ("_reason", "spec")

    def __init__(self, spec: dict[str, Any], reason: str) -> None:
        self.spec = spec
        self._reason = reason

    @property
    def kind(self) -> str:
        """The kind that was recorded with the attempt."""
        return str(self.spec.get("kind"))

    async def spawn(self, job: Job, control: Control) -> Worker:
        """Raise SpawnFailed with the reason."""
        del job, control
        raise SpawnFailed(self._reason)

    async def rejoin(self, job: Job, control: Control) -> Worker:
        """Raise SpawnFailed with the reason."""
        return await self.spawn(job, control)

    async def reap(self, job: Job, grace_s: float) -> None:
        """Do nothing: what the worker was is not known."""
        del job, grace_s


class WithdrawnHttpSpawner(WithdrawnSpawner):
    """A worker at a URL that is not allowed any more. One that had accepted the attempt may finish it."""

    outlives_server = True

    __slots__ = ()

    async def rejoin(self, job: Job, control: Control) -> Worker:
        """Watch a worker that had accepted the attempt. Raises SpawnFailed when it is not known to have."""
        if job.process is None or job.process.value != ACCEPTED:
            return await self.spawn(job, control)
        return RemoteWorker(control)


class WithdrawnProcessSpawner(WithdrawnSpawner):
    """A program that is not allowed any more. A child that a dead server process left is ended."""

    __slots__ = ()

    async def reap(self, job: Job, grace_s: float) -> None:
        """End the processes of the attempt."""
        await reap(job, grace_s)
