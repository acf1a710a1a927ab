"""A warning on the feed when an attempt outlives a limit."""

from __future__ import annotations

import asyncio
from contextlib import suppress

from app.domain.clock import Clock, system_clock
from app.domain.errors import Conflict
from app.spawning.ports import Control, Exit, Job, Layer, Worker


class LongHoldLayer(Layer):
    """Warns once per attempt, `limit_s` after it started. It ends nothing: that is what timeouts are for."""

    key = "long_hold"

    def __init__(self, limit_s: float, *, clock: Clock = system_clock) -> None:
        self._limit_s = limit_s
        self._clock = clock

    def watch(self, job: Job, control: Control, worker: Worker) -> Worker:
        """Watch the clock while the worker is joined, also after it was re-joined."""
        return _WatchedWorker(self, job, control, worker)

    async def warn(self, job: Job, control: Control) -> None:
        """Wait for the limit and put the warning on the feed; return without one when the attempt is over by then."""
        await asyncio.sleep(max(0.0, self._limit_s - self._held_s(job)))
        with suppress(Conflict):
            await control.held_long(self._held_s(job))

    def _held_s(self, job: Job) -> float:
        return (self._clock() - job.started_at) / 1000


class _WatchedWorker:
    """The worker inside, with the layer's clock running while it is joined."""

    def __init__(self, layer: LongHoldLayer, job: Job, control: Control, inner: Worker) -> None:
        self._layer = layer
        self._job = job
        self._control = control
        self._inner = inner

    async def join(self) -> Exit:
        warning = asyncio.create_task(self._layer.warn(self._job, self._control))
        try:
            return await self._inner.join()
        finally:
            warning.cancel()
            await asyncio.gather(warning, return_exceptions=True)

    async def stop(self, grace_s: float) -> None:
        await self._inner.stop(grace_s)
