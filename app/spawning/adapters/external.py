"""Start nothing: the dispatcher gets the handle and passes it to a worker of its own."""

from __future__ import annotations

from typing import Any

from app.domain.attempts import Phase
from app.spawning.ports import Control, Job, Worker
from app.spawning.specs import only_fields
from app.spawning.workers import RemoteWorker


class ExternalSpawner:
    """`{kind: external}`. Such an attempt is driven only if its layers need it."""

    kind = "external"
    first_phase = Phase.RUNNING
    outlives_server = True
    detached = True
    hands_out_handle = True
    leased = False

    __slots__ = ()

    @property
    def spec(self) -> dict[str, Any]:
        """The spec that is recorded with the attempt."""
        return {"kind": self.kind}

    async def spawn(self, job: Job, control: Control) -> Worker:
        """Start nothing. The returned worker ends with the attempt."""
        del job
        return RemoteWorker(control)

    async def rejoin(self, job: Job, control: Control) -> Worker:
        """Return a worker that ends with the attempt."""
        return await self.spawn(job, control)

    async def reap(self, job: Job, grace_s: float) -> None:
        """Do nothing: the server started no worker."""
        del job, grace_s


def build_external(spec: dict[str, Any]) -> ExternalSpawner:
    """Build from `{kind: external}`. Raises DispatchFailed for any other field."""
    only_fields(spec, ())
    return ExternalSpawner()
