"""Waiting for tasks: long polls, repeated for as long as the caller likes."""

from __future__ import annotations

import time
from datetime import timedelta

from swarmhold.calls import Calls, read
from swarmhold.errors import within
from swarmhold.models.enums import Status
from swarmhold.models.tasks import Task
from swarmhold.transport import Transport, segment

DEFAULT_HOLD = timedelta(seconds=50)
"""Short enough for the proxies on the way; the next poll follows at once."""


class Pace:
    """Keeps repeated polls from becoming a busy loop where the server does not hold them, as when it shuts down."""

    def __init__(self, transport: Transport, hold: timedelta) -> None:
        self._transport = transport
        self._half = hold.total_seconds() / 2
        self._began = time.monotonic()
        self._early = 0

    async def keep(self, *, news: bool) -> None:
        """Back off before the next poll if the last ones returned early and without news."""
        held = time.monotonic() - self._began >= self._half
        self._early = 0 if news or held else self._early + 1
        if self._early:
            await self._transport.back_off(self._early)
        self._began = time.monotonic()


class WaitCalls(Calls):
    """Calls that read tasks and wait for them; operators, observers, seniors and workers may make them."""

    async def task(self, task_id: str) -> Task:
        """Return the task."""
        return read(Task, await self._transport.get(f"{self._prefix}/tasks/{segment(task_id)}"))

    async def poll(self, task_id: str, *, hold: timedelta = DEFAULT_HOLD, since: int | None = None) -> Task:
        """Return the task once it is done, suspended or newer than version `since`, or as it is at the end of `hold`.

        Cancelling is safe: a poll changes nothing.
        """
        return read(
            Task,
            await self._transport.get(
                f"{self._prefix}/tasks/{segment(task_id)}/poll",
                params={"hold": hold.total_seconds(), "since": since},
                hold=hold,
            ),
        )

    async def wait_for(
        self,
        task_id: str,
        *,
        deadline: timedelta | None = None,
        or_suspended: bool = False,
        hold: timedelta = DEFAULT_HOLD,
    ) -> Task:
        """Wait until the task is done (pass, blocked, cancelled), or suspended if `or_suspended`, and return it.

        Polls in chunks of `hold`, also over restarts of the server that are shorter than calls are retried. A task that
        its retry policy will dispatch again stays running and is waited for. Cancelling is safe.

        Raises:
            DeadlineExceeded: `deadline` passed first.
            ApiProblem: the task cannot be read.
        """
        async with within(deadline):
            since: int | None = None
            pace = Pace(self._transport, hold)
            while True:
                task = await self.poll(task_id, hold=hold, since=since)
                if task.settled or (or_suspended and task.status is Status.SUSPENDED):
                    return task
                # A suspended task ends every poll at once.
                await pace.keep(news=task.version != since)
                since = task.version
