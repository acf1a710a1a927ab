"""What is left of a spawner that the settings no longer allow."""

from __future__ import annotations

from typing import Any

from app.domain.attempts import Phase
from app.spawning.adapters.http import HttpSpawner
from app.spawning.adapters.process import ProcessSpawner, reap
from app.spawning.ports import Control, Job, SpawnFailed, Worker
from app.spawning.workers import RemoteWorker


class WithdrawnSpawner:
    """Watches or reaps a worker that was started when it was allowed, and starts none."""

    first_phase = Phase.SPAWNING
    leased = False

    __slots__ = ("_reason", "_spec")

    def __init__(self, spec: dict[str, Any], reason: str) -> None:
        self._spec = spec
        self._reason = reason

    @property
    def kind(self) -> str:
        """The kind that it was."""
        return str(self._spec.get("kind"))

    @property
    def spec(self) -> dict[str, Any]:
        """What was recorded with the attempt."""
        return self._spec

    @property
    def outlives_server(self) -> bool:
        """Whether its workers may still be there."""
        return self.kind == HttpSpawner.kind

    async def spawn(self, job: Job, control: Control) -> Worker:
        """Raises SpawnFailed with the reason."""
        del job, control
        raise SpawnFailed(self._reason)

    async def rejoin(self, job: Job, control: Control) -> Worker:
        """Watch a worker elsewhere that had accepted the attempt. Raises SpawnFailed when there is none."""
        if not self.outlives_server or job.process is None:
            raise SpawnFailed(self._reason)
        return RemoteWorker(control)

    async def reap(self, job: Job, grace_s: float) -> None:
        """End a child process that a dead server left."""
        if self.kind == ProcessSpawner.kind:
            await reap(job, grace_s)
