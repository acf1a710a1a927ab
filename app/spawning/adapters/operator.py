"""Let a registered operator backend execute the attempt: a main AI with a connection, or a Python object."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

import structlog

from app.domain.attempts import Phase
from app.domain.errors import Conflict
from app.domain.redaction import describe
from app.spawning.backends.protocols import OperatorBackend, ReportingBackend
from app.spawning.backends.registry import Registries, Registry
from app.spawning.ports import Control, Exit, Job, Worker
from app.spawning.specs import only_fields, text

R = TypeVar("R")

STARTED = {"operator": "started"}
"""Recorded once the backend has started a worker, so that a restarted server does not start a second one."""

RECONNECT_GRACE_S = 30.0
"""How long, after a restart of the server, a backend that has to cancel an attempt is waited for."""

_log = structlog.get_logger(__name__)


class OperatorSpawner:
    """`{kind: operator, backend_id}`. While no backend is registered under the id, attempts wait for one.

    A backend whose connection drops before it replied is asked again when it is back: at least once, and the first
    Final wins. Its workers live behind it, so they outlive the server.
    """

    kind = "operator"
    first_phase = Phase.SPAWNING
    outlives_server = True
    leased = False

    __slots__ = ("_operators", "backend_id")

    def __init__(self, backend_id: str, operators: Registry[OperatorBackend]) -> None:
        self.backend_id = backend_id
        self._operators = operators

    @property
    def spec(self) -> dict[str, Any]:
        """The spec that is recorded with the attempt."""
        return {"kind": self.kind, "backend_id": self.backend_id}

    async def spawn(self, job: Job, control: Control) -> Worker:
        """Wait for the backend; it is called when the worker is joined."""
        await self._operators.wait_for(self.backend_id, namespace=job.facts.namespace)
        return _DelegatedWorker(self.backend_id, self._operators, job, control)

    async def rejoin(self, job: Job, control: Control) -> Worker:
        """Ask the backend again, unless it is recorded that it had started the worker."""
        started = job.process is not None and STARTED.items() <= job.process.value.items()
        return _DelegatedWorker(self.backend_id, self._operators, job, control, called=True, started=started)

    async def reap(self, job: Job, grace_s: float) -> None:
        """Do nothing: the worker is behind the backend."""
        del job, grace_s


class _DelegatedWorker:
    """An attempt that a backend executes."""

    def __init__(
        self,
        backend_id: str,
        operators: Registry[OperatorBackend],
        job: Job,
        control: Control,
        *,
        called: bool = False,
        started: bool = False,
    ) -> None:
        self._backend_id = backend_id
        self._operators = operators
        self._job = job
        self._control = control
        self._called = called
        self._wait_s = RECONNECT_GRACE_S if called else 0.0
        self._started = started

    async def join(self) -> Exit:
        """Have the backend execute the attempt, and return how it ended or when the attempt is over.

        After a cancelled wait the next join asks the backend again, unless it had started the worker.
        """
        ended = asyncio.ensure_future(self._control.ended())
        executed = asyncio.ensure_future(self._executed())
        try:
            await asyncio.wait({ended, executed}, return_when=asyncio.FIRST_COMPLETED)
            exit = executed.result() if executed.done() else None
            if exit is None:
                await ended
            return exit or Exit(detail="the attempt is over")
        finally:
            for task in (ended, executed):
                task.cancel()
            await asyncio.gather(ended, executed, return_exceptions=True)

    async def stop(self, grace_s: float) -> None:
        """Have the backend cancel the attempt.

        A disconnected backend is waited for during the grace period, longer after a restart of the server.
        """
        if not self._called:
            return
        try:
            async with asyncio.timeout(max(grace_s, self._wait_s)):
                await self._run(lambda backend: backend.cancel(self._job))
        except Exception as error:  # noqa: BLE001 - the attempt is over in any case: its handle is dead
            _log.warning("operator_not_cancelled", backend_id=self._backend_id, error=describe(error))

    async def _run(self, step: Callable[[OperatorBackend], Awaitable[R]]) -> R:
        return await self._operators.run(self._backend_id, step, namespace=self._job.facts.namespace)

    async def _executed(self) -> Exit | None:
        """Return how the backend reports the end; None when it started a worker and will not report."""
        try:
            if not self._started:
                exit = await self._run(self._execute)
                if exit is not None:
                    return exit
                await self._remember()
            return await self._run(self._finished)
        except Exception as error:  # noqa: BLE001 - whatever a backend raises is the attempt's failure, not the server's
            return Exit(detail=f"operator {self._backend_id!r}: {describe(error)}")

    async def _finished(self, backend: OperatorBackend) -> Exit | None:
        return await backend.finished(self._job) if isinstance(backend, ReportingBackend) else None

    async def _execute(self, backend: OperatorBackend) -> Exit | None:
        self._called = True
        return await backend.execute(self._job, self._control)

    async def _remember(self) -> None:
        self._started = True
        try:
            await self._control.record_process(STARTED)
        except Conflict:
            _log.debug("attempt_over_before_started", task_id=self._job.task_id, attempt=self._job.attempt)


class OperatorSpawners:
    """Builds operator spawners over one registry of backends."""

    def __init__(self, operators: Registry[OperatorBackend]) -> None:
        self._operators = operators

    def bound_to(self, registries: Registries) -> OperatorSpawners:
        """Return the builder over the backends of these registries."""
        return OperatorSpawners(registries.operators)

    def __call__(self, spec: dict[str, Any]) -> OperatorSpawner:
        """Build from `{kind: operator, backend_id}`; the backend may register later. Raises DispatchFailed."""
        only_fields(spec, ("backend_id",))
        return OperatorSpawner(text(spec, "backend_id"), self._operators)
