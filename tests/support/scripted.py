"""Functions, spawners, hooks and layers that a test controls, and that record their calls."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

from app.domain.attempts import DispatchOutcome, Phase
from app.domain.json import Json
from app.domain.outputs import Final
from app.spawning.adapters.in_process import FunctionJob
from app.spawning.ports import Control, Draft, Escalate, Exit, Facts, Job, Layer, Lookup, Spawn, Worker

IN_PROCESS: dict[str, Any] = {"kind": "in_process", "function": "scripted"}


class ScriptedFunction:
    """A function of this process that waits until the test says how it comes out."""

    def __init__(self) -> None:
        self.calls: list[FunctionJob] = []
        self.cancelled = 0
        self.called = asyncio.Event()
        self._outcomes: asyncio.Queue[Any] = asyncio.Queue()

    def give(self, outcome: Any) -> None:
        """How the next call comes out: a value, a Final, or an exception to raise."""
        self._outcomes.put_nowait(outcome)

    async def __call__(self, job: FunctionJob) -> Any:
        self.calls.append(job)
        self.called.set()
        try:
            outcome = await self._outcomes.get()
        except asyncio.CancelledError:
            self.cancelled += 1
            raise
        if isinstance(outcome, BaseException):
            raise outcome
        return outcome


class ScriptedWorker:
    """A worker that ends when the test says so."""

    def __init__(self, *, obstinate: bool = False) -> None:
        self.exit: asyncio.Future[Exit] = asyncio.get_running_loop().create_future()
        self.joined = asyncio.Event()
        self.stopped = asyncio.Event()
        self._obstinate = obstinate

    async def join(self) -> Exit:
        """Its end, or the exception that the test put there."""
        self.joined.set()
        return await asyncio.shield(self.exit)

    def end(self, exit: Exit) -> None:
        """End by itself, once."""
        if not self.exit.done():
            self.exit.set_result(exit)

    async def stop(self, grace_s: float) -> None:
        """End at once, without a Final."""
        self.stopped.set()
        if not self._obstinate:
            self.end(Exit(detail="stopped"))


class ScriptedSpawner:
    """A spawner of the test's own, which no catalog knows."""

    kind = "scripted"
    first_phase = Phase.SPAWNING
    leased = False

    def __init__(self, *, outlives: bool = False, spawn: Callable[[Job], Awaitable[Any]] | None = None) -> None:
        self.outlives_server = outlives
        self.jobs: list[Job] = []
        self.controls: list[Control] = []
        self.workers: list[ScriptedWorker] = []
        self.spawned = asyncio.Event()
        self.cancelled = 0
        self._spawn = spawn

    @property
    def spec(self) -> dict[str, Any]:
        """Its kind, and nothing to build it again from."""
        return {"kind": self.kind}

    async def spawn(self, job: Job, control: Control) -> Worker:
        """What the test gave, then a worker."""
        self.jobs.append(job)
        self.controls.append(control)
        try:
            if self._spawn is not None:
                await self._spawn(job)
        except asyncio.CancelledError:
            self.cancelled += 1
            raise
        self.workers.append(ScriptedWorker())
        self.spawned.set()
        return self.workers[-1]

    async def rejoin(self, job: Job, control: Control) -> Worker:
        """Rejoin exactly as `spawn` starts."""
        return await self.spawn(job, control)

    async def reap(self, job: Job, grace_s: float) -> None:
        """Nothing is left behind."""


class Hook:
    """A spawn hook that answers as the test says."""

    def __init__(self, *, agree: bool = True) -> None:
        self.before_calls: list[Job] = []
        self.after_calls: list[DispatchOutcome] = []
        self.asked = asyncio.Event()
        self.notified = asyncio.Event()
        self.verdict: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        if agree:
            self.verdict.set_result(None)

    async def before(self, job: Job) -> None:
        """Wait for the verdict."""
        self.before_calls.append(job)
        self.asked.set()
        await asyncio.shield(self.verdict)

    async def after(self, job: Job, outcome: DispatchOutcome) -> None:
        """Record the call."""
        self.after_calls.append(outcome)
        self.notified.set()


class TracingLayer(Layer):
    """Writes down each step that it takes part in."""

    def __init__(self, key: str, trace: list[str]) -> None:
        self.key = key  # pyright: ignore[reportAttributeAccessIssue] - each instance is a layer of its own here
        self._trace = trace

    def prepare(self, draft: Draft, look: Lookup) -> Draft:
        """Mark the prompt too."""
        self._trace.append(f"prepare {self.key}")
        return Draft(facts=draft.facts, prompt=f"{draft.prompt}+{self.key}", system=draft.system, notes=draft.notes)

    async def spawn(self, job: Job, control: Control, inner: Spawn) -> Worker:
        """Before and after what is inside."""
        self._trace.append(f"spawn {self.key}")
        worker = await inner(job, control)
        self._trace.append(f"spawned {self.key}")
        return worker

    def settle(self, final: Final, facts: Facts) -> Final | Escalate:
        """Mark the value."""
        self._trace.append(f"settle {self.key}")
        return Final(value=Json.of(f"{final.value.value}+{self.key}"), ok=final.ok)

    async def after(self, job: Job, control: Control, outcome: DispatchOutcome) -> None:
        """The end."""
        self._trace.append(f"after {self.key} {outcome.outcome}")
