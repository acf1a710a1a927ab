"""Reading what the server knows: listings, attempts, outputs, reasons, events."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from typing import TypedDict, Unpack

from swarmhold.calls import read
from swarmhold.events import follow
from swarmhold.models.attempts import Attempt, LateResult
from swarmhold.models.enums import Status
from swarmhold.models.events import Event, Lagged
from swarmhold.models.outputs import OutputRecord
from swarmhold.models.server import Node, Nodes, Stats
from swarmhold.models.sessions import Registry, Session
from swarmhold.models.shapes import Page, given
from swarmhold.models.tasks import Task, Why
from swarmhold.transport import segment
from swarmhold.waits import WaitCalls


class TaskFilters(TypedDict, total=False):
    """Which tasks to list. `label` is `key:value`, `parent` and `session` are ids; None matches every task."""

    status: Status | None
    agent: str | None
    label: str | None
    parent: str | None
    session: str | None


class TraceCalls(WaitCalls):
    """Calls that read and change nothing; each may be cancelled safely."""

    async def tasks(
        self, *, limit: int | None = None, cursor: str | None = None, **filters: Unpack[TaskFilters]
    ) -> Page[Task]:
        """Return one page of the tasks that fit every filter.

        Long directives and results are previews: `cut` names them, `task` returns them whole.
        """
        params = given(**filters, limit=limit, cursor=cursor)
        return read(Page[Task], await self._transport.get(f"{self._prefix}/tasks", params=params))

    async def all_tasks(self, **filters: Unpack[TaskFilters]) -> AsyncIterator[Task]:
        """Yield every task that fits, page after page. A task that changes meanwhile is seen as it was on its page.

        Long directives and results are previews: `cut` names them, `task` returns them whole.
        """
        cursor: str | None = None
        while True:
            page = await self.tasks(cursor=cursor, **filters)
            for task in page.items:
                yield task
            cursor = page.next_cursor
            if cursor is None:
                return

    async def why(self, task_id: str) -> Why:
        """Return what the task waits for."""
        return read(Why, await self._transport.get(f"{self._prefix}/tasks/{segment(task_id)}/why"))

    async def attempts(self, task_id: str, *, whole: bool = True) -> list[Attempt]:
        """Return all attempts of the task; unless `whole`, long prompts and results are previews (`cut` names them)."""
        path = f"{self._prefix}/tasks/{segment(task_id)}/attempts"
        found = await self._all(path, Page[Attempt])
        return [await self._read_at(Attempt, f"{path}/{one.attempt}") if one.cut and whole else one for one in found]

    async def attempt(self, task_id: str, attempt: int) -> Attempt:
        """Return one attempt by its number, counted from 1."""
        return read(Attempt, await self._transport.get(f"{self._prefix}/tasks/{segment(task_id)}/attempts/{attempt}"))

    async def outputs(
        self, task_id: str, attempt: int, *, after: int = 0, whole: bool = True
    ) -> AsyncIterator[OutputRecord]:
        """Yield the outputs of an attempt so far with numbers above `after`, in order.

        Unless `whole`, long ones have only the size and address of their value (`cut` names it).
        """
        path = f"{self._prefix}/tasks/{segment(task_id)}/attempts/{attempt}/output"
        async for one in self._pages(path, Page[OutputRecord], cursor_name="after", after=after):
            yield await self._read_at(OutputRecord, f"{path}/{one.seq}") if one.cut and whole else one

    async def output(self, task_id: str, attempt: int, *, whole: bool = True) -> list[OutputRecord]:
        """Return the outputs of an attempt so far, in order; see `outputs`."""
        return [one async for one in self.outputs(task_id, attempt, whole=whole)]

    async def late_results(self, task_id: str, attempt: int, *, whole: bool = True) -> list[LateResult]:
        """Return the results that came after the attempt had ended; an operator may adopt one.

        Unless `whole`, long values are previews.
        """
        path = f"{self._prefix}/tasks/{segment(task_id)}/attempts/{attempt}/late"
        found = await self._all(path, Page[LateResult])
        return [await self._read_at(LateResult, f"{path}/{one.index}") if one.cut and whole else one for one in found]

    async def sessions(self) -> list[Session]:
        """Return every session."""
        path = f"{self._prefix}/sessions"
        return await self._all(path, Page[Session])

    async def registry(self) -> Registry:
        """Return the ids of bridges, hooks, backends, spawners and layers that are registered now."""
        return read(Registry, await self._transport.get(f"{self._prefix}/registry"))

    async def stats(self) -> Stats:
        """Return counts of the whole server."""
        return read(Stats, await self._transport.get(f"{self._prefix}/stats"))

    async def nodes(self) -> list[Node]:
        """Return the server processes that share the database, in the order of their starts; dead ones for an hour."""
        return read(Nodes, await self._transport.get(f"{self._prefix}/nodes")).items

    def events(
        self,
        *,
        after: int | str | None = None,
        last: int | None = None,
        types: Sequence[str] = (),
        task: str | None = None,
    ) -> AsyncGenerator[Event | Lagged]:
        """Follow the event feed, see `swarmhold.events.follow`."""
        return follow(self._transport, after=after, last=last, types=types, task=task)
