"""Reading what the server knows: listings, attempts, outputs, reasons, events."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any, Literal, TypedDict, Unpack

from swarmhold.calls import read
from swarmhold.events import follow
from swarmhold.models.attempts import Attempt, LateResult
from swarmhold.models.enums import Status
from swarmhold.models.events import Event, Lagged
from swarmhold.models.instants import to_rfc3339
from swarmhold.models.sessions import Registry, Session
from swarmhold.models.shapes import Page, given
from swarmhold.models.tasks import Task, TaskCounts, Why
from swarmhold.models.usage import TaskUsage
from swarmhold.transport import segment
from swarmhold.waits import WaitCalls

# Imported where they are read: to build them all takes longer than a call.
if TYPE_CHECKING:
    from swarmhold.models.outputs import OutputRecord
    from swarmhold.models.server import Minute, Node, Stats, Workers


class TaskFilters(TypedDict, total=False):
    """Which tasks to list. `label` is `key:value`, `parent` and `session` are ids; None matches every task.

    `q` is searched for in directive, result, agent and labels, or is the beginning of an id. Tasks were created at or
    after `created_from` and before `created_until`. A task takes from its first dispatch until it is settled, or until
    now: by that, the longest or shortest of the newest 10,000 come first.
    """

    q: str | None
    status: Status | None
    agent: str | None
    label: str | Sequence[str] | None
    parent: str | None
    session: str | None
    created_from: datetime | None
    created_until: datetime | None
    sort: Literal["newest", "oldest", "longest", "shortest"] | None


def _spelled(filters: TaskFilters) -> dict[str, Any]:
    """Return the filters as parameters have them."""
    return {name: to_rfc3339(value) if isinstance(value, datetime) else value for name, value in filters.items()}


class TraceCalls(WaitCalls):
    """Calls that read and change nothing; each may be cancelled safely."""

    async def tasks(
        self, *, limit: int | None = None, cursor: str | None = None, **filters: Unpack[TaskFilters]
    ) -> Page[Task]:
        """Return one page of the tasks that fit every filter.

        Long directives and results are previews: `cut` names them, `task` returns them whole.
        """
        params = given(**_spelled(filters), limit=limit, cursor=cursor)
        return read(Page[Task], await self._transport.get(f"{self._prefix}/tasks", params=params))

    async def count_tasks(self, **filters: Unpack[TaskFilters]) -> dict[str, int]:
        """Return how many tasks fit every filter, by status."""
        reply = await self._transport.get(f"{self._prefix}/task-counts", params=given(**_spelled(filters)))
        return read(TaskCounts, reply).counts

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

    async def usage(self, task_id: str) -> TaskUsage:
        """Return what the task used of tokens and cost, itself and with the tasks below it."""
        return read(TaskUsage, await self._transport.get(f"{self._prefix}/tasks/{segment(task_id)}/usage"))

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
        from swarmhold.models.outputs import OutputRecord

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

    async def sessions(self, *, attached: bool | None = None) -> list[Session]:
        """Return every session, newest first: those that are attached now, those that ended, or all."""
        path = f"{self._prefix}/sessions"
        return await self._all(path, Page[Session], given(attached=attached))

    async def workers(self) -> Workers:
        """Return the queue workers: who listens to which queue, since when, and what they hold."""
        from swarmhold.models.server import Workers

        return read(Workers, await self._transport.get(f"{self._prefix}/workers"))

    async def history(self, *, minutes: int = 60) -> list[Minute]:
        """Return what happened in each of the latest whole minutes, oldest first."""
        from swarmhold.models.server import History

        reply = await self._transport.get(f"{self._prefix}/history", params={"minutes": minutes})
        return read(History, reply).items

    async def registry(self) -> Registry:
        """Return the ids of bridges, hooks, backends, spawners and layers that are registered now."""
        return read(Registry, await self._transport.get(f"{self._prefix}/registry"))

    async def stats(self) -> Stats:
        """Return counts of the whole server."""
        from swarmhold.models.server import Stats

        return read(Stats, await self._transport.get(f"{self._prefix}/stats"))

    async def nodes(self) -> list[Node]:
        """Return the server processes that share the database, in the order of their starts; dead ones for an hour."""
        from swarmhold.models.server import Nodes

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
