"""Nothing is started: whoever dispatched gets the handle and hands it on."""

from __future__ import annotations

from typing import Any

from app.domain.attempts import Phase
from app.spawning.ports import Control, Job, Worker
from app.spawning.specs import only
from app.spawning.workers import RemoteWorker


class ExternalSpawner:
    """`{kind: external}`. The server needs to drive such an attempt only for the sake of its layers."""

    kind = "external"
    first_phase = Phase.RUNNING
    outlives_server = True
    detached = True
    hands_out_handle = True
    leased = False

    __slots__ = ()

    @property
    def spec(self) -> dict[str, Any]:
        """What is recorded with the attempt."""
        return {"kind": self.kind}

    async def spawn(self, job: Job, control: Control) -> Worker:
        """Start nothing; the worker's end is the attempt's."""
        del job
        return RemoteWorker(control)

    async def rejoin(self, job: Job, control: Control) -> Worker:
        """As `spawn`."""
        return await self.spawn(job, control)

    async def reap(self, job: Job, grace_s: float) -> None:
        """Nothing was started here."""
        del job, grace_s


def build_external(spec: dict[str, Any]) -> ExternalSpawner:
    """From `{kind: external}`. Raises DispatchFailed on further fields."""
    only(spec, ())
    return ExternalSpawner()
