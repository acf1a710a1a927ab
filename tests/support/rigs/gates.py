"""Gates: what a backend or site is asked stands still where the test shut a gate, until it is opened with an answer."""

import asyncio
from typing import Generic, TypeVar

T = TypeVar("T")


class Gates(Generic[T]):
    """Gates by step and task; those that were never shut are open."""

    def __init__(self) -> None:
        self._shut: dict[tuple[str, str], asyncio.Future[T]] = {}
        self.arrived: list[tuple[str, str]] = []
        """Who came to a gate, in order, again and again."""

    def shut(self, step: str, task_id: str) -> None:
        """Let this task wait at this step."""
        self._shut[step, task_id] = asyncio.get_running_loop().create_future()

    def open(self, step: str, task_id: str, answer: T) -> None:
        """Let it go on with this answer, now and from now on."""
        gate = self._shut[step, task_id]
        if not gate.done():
            gate.set_result(answer)

    def open_all(self) -> None:
        """Let nobody wait any more: whoever does is cancelled."""
        for gate in self._shut.values():
            gate.cancel()

    async def passed(self, step: str, task_id: str, *, otherwise: T) -> T:
        """The gate's answer, once it is opened; `otherwise` if it was never shut."""
        self.arrived.append((step, task_id))
        gate = self._shut.get((step, task_id))
        return otherwise if gate is None else await asyncio.shield(gate)
