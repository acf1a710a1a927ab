"""Workers that this server does not run."""

from __future__ import annotations

from app.spawning.ports import Control, Exit


class RemoteWorker:
    """A worker elsewhere, which ends its attempt by submitting. There is nothing of it here to stop."""

    __slots__ = ("_control",)

    def __init__(self, control: Control) -> None:
        self._control = control

    async def join(self) -> Exit:
        """Return when the attempt is over, whatever ended it."""
        await self._control.ended()
        return Exit(detail="the attempt is over")

    async def stop(self, grace_s: float) -> None:
        """Nothing to stop: with the attempt its handle and token die, and its next call says so."""
        del grace_s


class FinishedWorker:
    """A worker that was done as soon as it was started."""

    __slots__ = ("_exit",)

    def __init__(self, exit: Exit) -> None:
        self._exit = exit

    async def join(self) -> Exit:
        """How it went, at once."""
        return self._exit

    async def stop(self, grace_s: float) -> None:
        """Nothing is left of it."""
        del grace_s
