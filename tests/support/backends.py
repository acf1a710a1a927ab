"""Backends and hooks that live in the test: each call is kept, and answered when the test says so."""

import asyncio
from collections.abc import Callable
from typing import Any

from app.domain.attempts import DispatchOutcome
from app.spawning.backends.protocols import BackendGone
from app.spawning.ports import Control, Exit, Job, SpawnRefused


class Calls:
    """What was called, in order, and a way to wait for the next call."""

    def __init__(self) -> None:
        self.made: list[tuple[Any, ...]] = []
        self._more = asyncio.Condition()

    async def add(self, *call: Any) -> None:
        """One more."""
        async with self._more:
            self.made.append(call)
            self._more.notify_all()

    async def seen(self, name: str, *, times: int = 1, within: float = 60.0) -> None:
        """Wait until `name` was called so often."""
        async with asyncio.timeout(within), self._more:
            await self._more.wait_for(lambda: sum(call[0] == name for call in self.made) >= times)


class ScriptedBackend:
    """An operator backend: `answer` is the reply to execute, or waits until `drop` when it is None."""

    def __init__(self, calls: Calls, answer: Callable[[], Exit | None] | None = None) -> None:
        self.calls = calls
        self._answer = answer
        self._dropped = asyncio.Event()

    def drop(self) -> None:
        """The connection is gone."""
        self._dropped.set()

    async def execute(self, job: Job, control: Control) -> Exit | None:
        """Mint a handle, as a connection does, and answer."""
        await self.calls.add("execute", job.task_id, await control.mint_handle())
        if self._answer is not None:
            return self._answer()
        await self._dropped.wait()
        raise BackendGone

    async def cancel(self, job: Job) -> None:
        """Keep that it was called."""
        if self._dropped.is_set():
            raise BackendGone
        await self.calls.add("cancel", job.task_id)


class ScriptedHook:
    """A spawn hook that agrees, refuses with `reason`, or is `gone`."""

    def __init__(self, calls: Calls, *, reason: str | None = None, gone: bool = False) -> None:
        self.calls = calls
        self._reason = reason
        self._gone = gone

    async def before(self, job: Job) -> None:
        """Agree or not."""
        await self.calls.add("before", job.task_id)
        if self._gone:
            raise BackendGone
        if self._reason is not None:
            raise SpawnRefused(self._reason)

    async def after(self, job: Job, outcome: DispatchOutcome) -> None:
        """Hear the end."""
        await self.calls.add("after", outcome.reason)
        if self._gone:
            raise BackendGone
