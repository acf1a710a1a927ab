"""Workers that this server does not run, and the spawners that start none."""

from __future__ import annotations

from app.spawning.ports import Control, Exit, Job, Worker


class RemoteWorker:
    """A worker elsewhere, which ends its attempt by submitting. There is nothing to stop here."""

    __slots__ = ("_control",)

    def __init__(self, control: Control) -> None:
        self._control = control

    async def join(self) -> Exit:
        """Wait until the attempt is over, whatever ended it."""
        await self._control.ended()
        return Exit(detail="the attempt is over")

    async def stop(self, grace_s: float) -> None:
        """Do nothing: handle and token end with the attempt, and the worker's next call is refused."""
        del grace_s


class FinishedWorker:
    """A worker that had ended when it was started."""

    __slots__ = ("_exit",)

    def __init__(self, exit: Exit) -> None:
        self._exit = exit

    async def join(self) -> Exit:
        """Return how it ended, at once."""
        return self._exit

    async def stop(self, grace_s: float) -> None:
        """Do nothing: it has ended."""
        del grace_s


class DetachedSpawner:
    """The part that spawners share whose workers come by themselves: nothing is started, watched or stopped."""

    outlives_server = True
    detached = True

    __slots__ = ()

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
