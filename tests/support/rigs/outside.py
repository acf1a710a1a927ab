"""Rigs whose workers are elsewhere: they get a handle and submit by themselves, or do not start at all."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from datetime import timedelta

from swarmhold import Job
from swarmhold.models.attempts import Dispatched
from swarmhold.models.shapes import JsonValue
from swarmhold.models.spawners import ExternalSpawner, HttpSpawner, OperatorSpawner, QueueSpawner, Spawner
from swarmhold.tasks import TaskCalls
from tests.support.rigs.backend import ID
from tests.support.rigs.rig import ControlledWorker, Rig
from tests.support.rigs.stage import FAILED, RAISED, Stage
from tests.support.waiting import eventually, present


class ExternalRig(Rig):
    """The dispatcher passes the handle to the worker."""

    kind = "external"
    broken = FAILED

    def __init__(self, stage: Stage) -> None:
        super().__init__(stage)
        self._handles: dict[tuple[str, int], str] = {}

    def spawner(self, task_id: str) -> Spawner:
        return ExternalSpawner()

    async def dispatch(
        self, task_id: str, *, layers: Sequence[str] = (), lease: float | None = None, by: TaskCalls | None = None
    ) -> Dispatched:
        made = await super().dispatch(task_id, layers=layers, lease=lease, by=by)
        assert made.worker_handle is not None
        self._handles[task_id, made.attempt] = made.worker_handle
        return made

    async def worker(self, task_id: str, attempt: int = 1) -> ControlledWorker:
        handle = await present(self._handles, (task_id, attempt))
        return ControlledWorker(self.stage, task_id, attempt, handle)

    async def breaks(self, worker: ControlledWorker) -> None:
        """Submit a failure, here by the other route."""
        await self.stage.worker(worker.handle).post_result(worker.task_id, "I broke", ok=False, attempt=worker.attempt)


class QueueWorker(ControlledWorker):
    """A job that a queue worker's loop carries out."""

    def __init__(self, stage: Stage, job: Job, working: asyncio.Task[None], done: asyncio.Future[JsonValue]) -> None:
        super().__init__(stage, job.task_id, job.attempt, job.claim.worker_handle)
        self._job = job
        self._working = working
        self._done = done
        self.stopped = asyncio.Event()

    async def work(self) -> JsonValue:
        """What the loop calls: it takes until `finish`, `broke` or the loop's own end of it."""
        try:
            return await self._done
        except asyncio.CancelledError:
            self.stopped.set()
            raise

    async def finish(self, value: JsonValue, *, ok: bool = True) -> None:
        if not ok:
            await self._job.worker.submit(value, ok=False)
        else:
            self._done.set_result(value)

    def broke(self, error: Exception) -> None:
        """Let the job raise."""
        self._done.set_exception(error)

    async def stop_noticed(self) -> None:
        async with asyncio.timeout(60):
            await self.stopped.wait()

    async def vanish(self) -> None:
        """End the worker as if its machine had died."""
        self._working.cancel()
        await asyncio.gather(self._working, return_exceptions=True)


class QueueRig(Rig):
    """A worker that claims, by the client's own loop. Each task has a queue of its own."""

    kind = "queue"
    broken = RAISED

    def spawner(self, task_id: str) -> Spawner:
        return QueueSpawner(queue=task_id)

    async def worker(self, task_id: str, attempt: int = 1) -> ControlledWorker:
        found: asyncio.Future[QueueWorker] = asyncio.get_running_loop().create_future()

        async def work(job: Job) -> JsonValue:
            assert job.attempt == attempt
            worker = QueueWorker(self.stage, job, running, asyncio.get_running_loop().create_future())
            found.set_result(worker)
            loop.stop()
            return await worker.work()

        loop = self.stage.client.queue_worker(
            self.stage.root_key, task_id, work, heartbeat=timedelta(milliseconds=50), name=f"worker-{attempt}"
        )
        running = asyncio.create_task(loop.run())
        async with asyncio.timeout(60):
            return await found

    async def breaks(self, worker: ControlledWorker) -> None:
        assert isinstance(worker, QueueWorker)
        worker.broke(RuntimeError("I broke"))


class OperatorWorker(ControlledWorker):
    """A worker that a backend started, or the backend itself."""

    async def stop_noticed(self) -> None:
        cancelled = self.stage.backend.cancelled
        await eventually(lambda: (self.task_id, self.attempt) in cancelled, awaited="the backend to be asked to cancel")


class OperatorRig(Rig):
    """A backend that says at once that it started a worker, which submits by itself."""

    kind = "operator"
    broken = FAILED

    def spawner(self, task_id: str) -> Spawner:
        return OperatorSpawner(backend_id=ID)

    async def worker(self, task_id: str, attempt: int = 1) -> ControlledWorker:
        handles = await present(self.stage.backend.handles, (task_id, attempt))
        return OperatorWorker(self.stage, task_id, attempt, handles[0])

    async def breaks(self, worker: ControlledWorker) -> None:
        await worker.finish("I broke", ok=False)


class HttpRig(Rig):
    """A site that accepts at once, and whose worker submits by itself."""

    kind = "http"
    broken = FAILED

    def spawner(self, task_id: str) -> Spawner:
        return HttpSpawner(url=self.stage.site.url)

    async def worker(self, task_id: str, attempt: int = 1) -> ControlledWorker:
        posted = await present(self.stage.site.posted, (task_id, attempt))
        return ControlledWorker(self.stage, task_id, attempt, posted.handles[0])

    async def breaks(self, worker: ControlledWorker) -> None:
        await worker.finish("I broke", ok=False)
