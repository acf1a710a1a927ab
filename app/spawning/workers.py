"""Workers without a process of this server."""

from __future__ import annotations

from app.spawning.ports import Control, Exit


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
