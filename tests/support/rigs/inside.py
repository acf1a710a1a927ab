"""Rigs whose workers are the server's own: a function in its process, and a child process."""

from __future__ import annotations

from swarmhold.models.shapes import JsonValue
from swarmhold.models.spawners import InProcessSpawner, ProcessSpawner, Spawner
from tests.support.pids import alive
from tests.support.rigs.control_server import Caller
from tests.support.rigs.rig import ControlledWorker, Rig
from tests.support.rigs.stage import BROKE, Stage
from tests.support.waiting import eventually


class ObedientWorker(ControlledWorker):
    """A worker that dialled the control server."""

    def __init__(self, stage: Stage, caller: Caller) -> None:
        super().__init__(stage, caller.task_id, caller.attempt, caller.handle)
        self.caller = caller

    async def stop_noticed(self) -> None:
        """It is ended rather than asked to stop."""
        await self.caller.gone()


class FunctionWorker(ObedientWorker):
    """A function."""

    async def finish(self, value: JsonValue, *, ok: bool = True) -> None:
        await self.caller.tell(do="return", value=value, ok=ok)


class ChildWorker(ObedientWorker):
    """A child process."""

    async def finish(self, value: JsonValue, *, ok: bool = True) -> None:
        await self.caller.tell(do="say", value=value, ok=ok)

    async def start_children(self) -> list[int]:
        """Have it start what outlives it: the processes' ids."""
        await self.caller.tell(do="start_children")
        return (await self.caller.reply())["pids"]

    async def ignore_sigterm(self) -> None:
        """Have it ignore SIGTERM."""
        await self.caller.tell(do="ignore sigterm")
        await self.caller.reply()

    async def stop_noticed(self) -> None:
        await self.caller.gone()
        await eventually(lambda: not alive(self.caller.pid), awaited="the child to be gone")


class FunctionRig(Rig):
    """A function that obeys the control server."""

    kind = "in_process"
    outlives = False
    broken = BROKE

    def spawner(self, task_id: str) -> Spawner:
        return InProcessSpawner(function="obey")

    async def worker(self, task_id: str, attempt: int = 1) -> ControlledWorker:
        return FunctionWorker(self.stage, await self.stage.control_server.caller(task_id, attempt))

    async def breaks(self, worker: ControlledWorker) -> None:
        assert isinstance(worker, ObedientWorker)
        await worker.caller.tell(do="fail", why="I broke")


class ChildRig(FunctionRig):
    """A child process that obeys the control server."""

    kind = "process"

    def spawner(self, task_id: str) -> Spawner:
        return ProcessSpawner(program="child")

    async def worker(self, task_id: str, attempt: int = 1) -> ChildWorker:
        return ChildWorker(self.stage, await self.stage.control_server.caller(task_id, attempt))
