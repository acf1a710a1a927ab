"""Waiting for tasks: long polls, repeated for as long as the caller likes."""

from __future__ import annotations

import asyncio
import time
from datetime import timedelta

from swarmhold.callers import Caller
from swarmhold.models.enums import Status
from swarmhold.models.tasks import Task
from swarmhold.transport import Transport, part

DEFAULT_HOLD = timedelta(seconds=50)
"""Short enough for the proxies on the way; the next poll follows at once."""


class Pace:
    """Keeps repeated polls from spinning where the server does not hold them, as when it shuts down."""

    def __init__(self, transport: Transport, hold: timedelta) -> None:
        self._transport = transport
        self._half = hold.total_seconds() / 2
        self._began = time.monotonic()
        self._early = 0

    async def keep(self, *, news: bool) -> None:
        """Rest before the next poll if the last ones came back early and without news."""
        held = time.monotonic() - self._began >= self._half
        self._early = 0 if news or held else self._early + 1
        if self._early:
            await self._transport.rest(self._early)
        self._began = time.monotonic()


class WaitCalls(Caller):
    """Reading and awaiting tasks; operators, observers, seniors and workers may do it."""

    async def task(self, task_id: str) -> Task:
        """The task as it stands."""
        reply = await self._transport.get(f"{self._prefix}/tasks/{part(task_id)}")
        return Task.model_validate_json(reply.content)

    async def poll(self, task_id: str, *, hold: timedelta = DEFAULT_HOLD, since: int | None = None) -> Task:
        """The task once it is settled, suspended or newer than version `since`; at the end of `hold`, as it stands.

        Cancelling is safe: a poll changes nothing.
        """
        reply = await self._transport.get(
            f"{self._prefix}/tasks/{part(task_id)}/poll",
            params={"hold": hold.total_seconds(), "since": since},
            hold=hold,
        )
        return Task.model_validate_json(reply.content)

    async def wait_for(
        self,
        task_id: str,
        *,
        deadline: timedelta | None = None,
        or_suspended: bool = False,
        hold: timedelta = DEFAULT_HOLD,
    ) -> Task:
        """The task once it is settled (pass, blocked, cancelled), or suspended if `or_suspended`.

        Polls in chunks of `hold` and outlives restarts of the server within the client's patience. While a retry policy
        will dispatch it again, the task stays running and is waited for. Cancelling is safe.

        Raises:
            TimeoutError: `deadline` passed first.
            ApiProblem: the task cannot be read.
        """
        async with asyncio.timeout(None if deadline is None else deadline.total_seconds()):
            since: int | None = None
            pace = Pace(self._transport, hold)
            while True:
                task = await self.poll(task_id, hold=hold, since=since)
                if task.settled or (or_suspended and task.status is Status.SUSPENDED):
                    return task
                # A suspended task ends every poll at once.
                await pace.keep(news=task.version != since)
                since = task.version
