"""Rigs whose workers are the server's own: a function in its process, and a child process."""

from __future__ import annotations

from swarmhold.models.shapes import JsonValue
from swarmhold.models.spawners import InProcessSpawner, ProcessSpawner, Spawner
from tests.support.pids import alive
from tests.support.rigs.arena import BROKE, Arena
from tests.support.rigs.desk import Caller
from tests.support.rigs.rig import Hand, Rig
from tests.support.waiting import eventually


class ObedientHand(Hand):
    """A worker that dialled the test's desk."""

    def __init__(self, arena: Arena, caller: Caller) -> None:
        super().__init__(arena, caller.task_id, caller.attempt, caller.handle)
        self.caller = caller

    async def told(self) -> None:
        """It is not told but ended."""
        await self.caller.gone()


class FunctionHand(ObedientHand):
    """A function."""

    async def finish(self, value: JsonValue, *, ok: bool = True) -> None:
        await self.caller.tell(do="return", value=value, ok=ok)


class ChildHand(ObedientHand):
    """A child process."""

    async def finish(self, value: JsonValue, *, ok: bool = True) -> None:
        await self.caller.tell(do="say", value=value, ok=ok)

    async def breed(self) -> list[int]:
        """Have it start what outlives it: the processes' ids."""
        await self.caller.tell(do="breed")
        return (await self.caller.heard())["pids"]

    async def turn_deaf(self) -> None:
        """Have it ignore SIGTERM."""
        await self.caller.tell(do="be deaf")
        await self.caller.heard()

    async def told(self) -> None:
        await self.caller.gone()
        await eventually(lambda: not alive(self.caller.pid), awaited="the child to be gone")


class FunctionRig(Rig):
    """A function that does as it is told."""

    kind = "in_process"
    outlives = False
    broken = BROKE

    def spawner(self, task_id: str) -> Spawner:
        return InProcessSpawner(function="obey")

    async def hand(self, task_id: str, attempt: int = 1) -> Hand:
        return FunctionHand(self.arena, await self.arena.desk.caller(task_id, attempt))

    async def breaks(self, hand: Hand) -> None:
        assert isinstance(hand, ObedientHand)
        await hand.caller.tell(do="fail", why="I broke")


class ChildRig(FunctionRig):
    """A child process that does as it is told."""

    kind = "process"

    def spawner(self, task_id: str) -> Spawner:
        return ProcessSpawner(program="child")

    async def hand(self, task_id: str, attempt: int = 1) -> ChildHand:
        return ChildHand(self.arena, await self.arena.desk.caller(task_id, attempt))
