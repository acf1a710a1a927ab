"""Rigs whose workers do the whole work before they reply: the reply is the Final."""

from __future__ import annotations

from collections.abc import Sequence

from swarmhold import Finished
from swarmhold.models.attempts import Dispatched
from swarmhold.models.shapes import JsonValue
from swarmhold.tasks import TaskCalls
from tests.support.rigs.outside import HttpRig, OperatorRig, OperatorWorker
from tests.support.rigs.rig import ControlledWorker
from tests.support.rigs.stage import BROKE, NOT_STARTED
from tests.support.waiting import eventually, present


class ReplyingBackend(OperatorWorker):
    """A backend that is at work, its acknowledgement yet to come."""

    async def finish(self, value: JsonValue, *, ok: bool = True) -> None:
        self.stage.backend.spawns.open("spawn", self.task_id, Finished(value=value, ok=ok))


class OperatorReplyRig(OperatorRig):
    """A backend that acknowledges with the value."""

    broken = BROKE

    async def dispatch(
        self, task_id: str, *, layers: Sequence[str] = (), lease: float | None = None, by: TaskCalls | None = None
    ) -> Dispatched:
        self.stage.backend.spawns.shut("spawn", task_id)
        return await super().dispatch(task_id, layers=layers, lease=lease, by=by)

    async def worker(self, task_id: str, attempt: int = 1) -> ControlledWorker:
        handles = await present(self.stage.backend.handles, (task_id, attempt))
        return ReplyingBackend(self.stage, task_id, attempt, handles[0])

    async def breaks(self, worker: ControlledWorker) -> None:
        self.stage.backend.spawns.open("spawn", worker.task_id, RuntimeError("I broke"))


class ReplyingSite(ControlledWorker):
    """A site that is at work, its reply yet to come."""

    async def finish(self, value: JsonValue, *, ok: bool = True) -> None:
        self.stage.site.gates.open("post", self.task_id, (200, {"value": value, "ok": ok}))

    async def stop_noticed(self) -> None:
        posted = self.stage.site.posted[self.task_id, self.attempt]
        await eventually(lambda: posted.dropped == len(posted.handles), awaited="the server to break its call off")

    async def vanish(self) -> None:
        """The connection breaks, and so does every later one."""
        self.stage.site.gates.open("post", self.task_id, (0, None))


class HttpReplyRig(HttpRig):
    """A site that replies with the value."""

    broken = NOT_STARTED

    async def dispatch(
        self, task_id: str, *, layers: Sequence[str] = (), lease: float | None = None, by: TaskCalls | None = None
    ) -> Dispatched:
        self.stage.site.gates.shut("post", task_id)
        return await super().dispatch(task_id, layers=layers, lease=lease, by=by)

    async def worker(self, task_id: str, attempt: int = 1) -> ControlledWorker:
        posted = await present(self.stage.site.posted, (task_id, attempt))
        return ReplyingSite(self.stage, task_id, attempt, posted.handles[0])

    async def running(self, task_id: str, attempt: int = 1) -> ControlledWorker:
        """It counts as being started until it replies."""
        return await self.worker(task_id, attempt)

    async def breaks(self, worker: ControlledWorker) -> None:
        self.stage.site.gates.open("post", worker.task_id, (500, {"error": "I broke"}))
