"""Objects that can be registered under an id: operator backends, spawn hooks and senior bridges.

Each may be an object of this process or stand for a connection; then every call may raise BackendGone, and is made
again on the next object registered under the same id. So all of them are called at least once, not exactly once.
"""

from __future__ import annotations

from typing import Protocol, runtime_checkable

from app.domain.attempts import DispatchOutcome
from app.domain.questions import Question
from app.spawning.ports import Control, Exit, Job


class BackendGone(Exception):
    """The connection behind the object is lost, and it is unknown whether the call arrived."""


class HeldElsewhere(BaseException):
    """Another node has the object that a step of an attempt needs: the attempt is left to it.

    No error of the step, so that nothing which catches errors of spawners and layers takes it for one. `name` is the
    kind and the id of the object, `done` names the steps that the other node has not to repeat (`steps_done`).
    """

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self.name = name
        self.done: set[str] = set()


def steps_done(job: Job) -> frozenset[str]:
    """Return the steps that were done before the attempt came to this node."""
    return frozenset() if job.process is None else frozenset(job.process.value.get("done", ()))


@runtime_checkable
class OperatorBackend(Protocol):
    """Executes attempts: a main AI behind a WebSocket, or a Python object."""

    async def execute(self, job: Job, control: Control) -> Exit | None:
        """Run the attempt and return how it ended; None when its worker was started and submits by itself.

        Each call mints its own handle (`control.mint_handle`) if its worker needs one. Raises BackendGone; what else it
        raises fails the attempt under its own name. It is cancelled when the attempt ends in another way or the server
        stops: give up waiting then; `cancel` is called if the worker shall stop.
        """
        ...

    async def cancel(self, job: Job) -> None:
        """Stop what runs for this attempt. Idempotent; need not wait for the end. Raises BackendGone."""
        ...


@runtime_checkable
class ReportingBackend(Protocol):
    """An operator backend that reports later how an attempt ended whose worker it has started."""

    async def finished(self, job: Job) -> Exit:
        """Wait for its end and return it. Raises BackendGone. Cancelled when the attempt ends in another way."""
        ...


@runtime_checkable
class SpawnHook(Protocol):
    """Approves or refuses an attempt before it starts, and is notified when it has ended."""

    async def before(self, job: Job) -> None:
        """Return to let the attempt start. Raises SpawnRefused with a reason to block it, or BackendGone."""
        ...

    async def after(self, job: Job, outcome: DispatchOutcome, /) -> None:
        """Take note of how the attempt ended. Raises BackendGone."""
        ...


@runtime_checkable
class SeniorBridge(Protocol):
    """Carries questions to a senior. Answers come back through the engine's `resume`."""

    async def ask(self, question: Question) -> None:
        """Show an open question. Called again, with the same key, on objects registered later, until it is answered.

        Raises BackendGone; after anything else that it raises, the next ones are shown all the same.
        """
        ...

    async def withdrawn(self, key: str, reason: str) -> None:
        """Take note that the question `key` is closed: `answered`, `withdrawn` or `expired`. Raises as `ask`."""
        ...
