"""Run registered Python functions of this process as workers."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Callable, Coroutine
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from threading import Event
from typing import Any, TypeVar

from app.domain.attempts import Phase
from app.domain.errors import DispatchFailed
from app.domain.json import Json
from app.domain.outputs import Final, OutputEvent
from app.domain.redaction import describe
from app.domain.tokens import CapToken
from app.spawning.ports import Control, Exit, Job, SpawnFailed, Worker
from app.spawning.specs import only_fields, text

T = TypeVar("T")


@dataclass(frozen=True, slots=True, kw_only=True)
class FunctionJob:
    """The argument of a registered function. Its methods raise AttemptSuperseded or Cancelled after the attempt."""

    task_id: str
    attempt: int
    agent: str
    prompt: str
    system: str | None
    base_url: str
    _control: Control = field(repr=False)
    _loop: asyncio.AbstractEventLoop = field(repr=False)
    _stopping: Event = field(repr=False)

    @property
    def stopping(self) -> bool:
        """Whether the function should stop. A plain function has to poll this: nothing can interrupt its thread."""
        return self._stopping.is_set()

    async def progress(self, stage: str, note: str | None = None) -> None:
        """Report progress."""
        await self._control.output(OutputEvent.progress(stage, note))

    async def partial(self, chunk: Any) -> None:
        """Send a piece of the result."""
        await self._control.output(OutputEvent.partial(chunk))

    async def artifact(self, name: str, content: Any) -> None:
        """Send a named product."""
        await self._control.output(OutputEvent.artifact(name, content))

    async def usage(
        self,
        *,
        input_tokens: int | None = None,
        output_tokens: int | None = None,
        cost: float | None = None,
        model: str | None = None,
    ) -> None:
        """Report tokens of a model and their cost, in addition to what was reported before."""
        report = {"input_tokens": input_tokens, "output_tokens": output_tokens, "cost": cost, "model": model}
        await self._control.output(OutputEvent.usage(**report))

    async def token(self) -> CapToken:
        """Return the attempt's worker token, to call the engine with."""
        return await self._control.worker_token()

    async def handle(self) -> str:
        """Return a handle of the attempt, to pass to another worker."""
        return await self._control.mint_handle()

    def wait(self, call: Coroutine[Any, Any, T]) -> T:
        """Wait, in the thread of a plain function, for one of the methods above: `job.wait(job.progress("read"))`."""
        return asyncio.run_coroutine_threadsafe(call, self._loop).result()


Function = Callable[[FunctionJob], Any]
"""An `async def` or a plain function (run in a thread). It returns a JSON value, or a Final to say whether it is ok."""


async def identity(job: FunctionJob) -> str:
    """Return the prompt unchanged."""
    return job.prompt


class FunctionRegistry:
    """The functions that may be dispatched to, by name, and the threads that plain ones run in."""

    def __init__(self, *, threads: int = 32) -> None:
        self._functions: dict[str, Function] = {"identity": identity}
        self._threads = ThreadPoolExecutor(max_workers=threads, thread_name_prefix="swarmhold-function")

    def register(self, name: str, function: Function) -> None:
        """Register a function under a name, replacing an earlier one."""
        self._functions[name] = function

    def names(self) -> list[str]:
        """Return the names, sorted."""
        return sorted(self._functions)

    def build(self, spec: dict[str, Any]) -> InProcessSpawner:
        """Build from `{kind: in_process, function}`. Raises DispatchFailed."""
        only_fields(spec, ("function",))
        name = text(spec, "function")
        function = self._functions.get(name)
        if function is None:
            raise DispatchFailed(f"there is no function {name!r}; there are {', '.join(self.names())}")
        return InProcessSpawner(name, function, self._threads)

    async def aclose(self) -> None:
        """Start no more plain functions. Those that run are stopped through their workers."""
        self._threads.shutdown(wait=False, cancel_futures=True)


class InProcessSpawner:
    """`{kind: in_process, function}`: the function's value is the Final, its exception the failure."""

    kind = "in_process"
    first_phase = Phase.SPAWNING
    outlives_server = False
    leased = True

    __slots__ = ("_function", "_threads", "name")

    def __init__(self, name: str, function: Function, threads: ThreadPoolExecutor) -> None:
        self.name = name
        self._function = function
        self._threads = threads

    @property
    def spec(self) -> dict[str, Any]:
        """The spec that is recorded with the attempt."""
        return {"kind": self.kind, "function": self.name}

    async def spawn(self, job: Job, control: Control) -> Worker:
        """Call the function."""
        return FunctionWorker(self._function, job, control, self._threads)

    async def rejoin(self, job: Job, control: Control) -> Worker:
        """Raise SpawnFailed: the function died with the server that ran it."""
        del job, control
        raise SpawnFailed(f"the function {self.name!r} ended with the server that ran it")

    async def reap(self, job: Job, grace_s: float) -> None:
        """Do nothing: a function never outlives its process."""
        del job, grace_s


class FunctionWorker:
    """One call of a function, begun on construction: in a task, and in a thread if it is a plain function."""

    def __init__(self, function: Function, job: Job, control: Control, threads: ThreadPoolExecutor) -> None:
        self._stopping = Event()
        self._threaded = not _is_async(function)
        loop = asyncio.get_running_loop()
        offer = FunctionJob(
            task_id=job.task_id,
            attempt=job.attempt,
            agent=job.agent,
            prompt=job.prompt,
            system=job.system,
            base_url=job.base_url,
            _control=control,
            _loop=loop,
            _stopping=self._stopping,
        )
        call = _in_thread(function, offer, threads) if self._threaded else function(offer)
        self._task = loop.create_task(_exit_of(call), name=f"{job.task_id}/{job.attempt}")

    async def join(self) -> Exit:
        """Wait for the function to return."""
        await asyncio.wait({self._task})
        return Exit(detail="the function was stopped") if self._task.cancelled() else self._task.result()

    async def stop(self, grace_s: float) -> None:
        """Cancel the function and wait up to `grace_s` for its end.

        A plain function cannot be interrupted; one that does not poll `stopping` is abandoned after the grace period.
        """
        self._stopping.set()
        if not self._threaded:
            self._task.cancel()
        await asyncio.wait({self._task}, timeout=grace_s)
        self._task.cancel()


def _is_async(function: Function) -> bool:
    return inspect.iscoroutinefunction(function) or inspect.iscoroutinefunction(type(function).__call__)


async def _in_thread(function: Function, offer: FunctionJob, threads: ThreadPoolExecutor) -> Any:
    value = await asyncio.get_running_loop().run_in_executor(threads, function, offer)
    return await value if inspect.isawaitable(value) else value


async def _exit_of(call: Coroutine[Any, Any, Any]) -> Exit:
    try:
        value = await call
        return Exit(final=value if isinstance(value, Final) else Final(value=Json.of(value), ok=True))
    except (Exception, SystemExit) as error:  # noqa: BLE001 - whatever a registered function raises is its failure, not the server's
        return Exit(detail=describe(error))
    finally:
        call.close()
