"""Reading what the server knows: listings, attempts, outputs, reasons, events."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Sequence

from swarmhold.events import follow
from swarmhold.listings import every_item
from swarmhold.models.attempts import Attempt, LateResult
from swarmhold.models.enums import Status
from swarmhold.models.events import Event, Lagged
from swarmhold.models.outputs import OutputRecord
from swarmhold.models.pages import Page
from swarmhold.models.sessions import Registry, Session
from swarmhold.models.stats import Stats
from swarmhold.models.tasks import Task, Why
from swarmhold.transport import Params, part
from swarmhold.waits import WaitCalls


class TraceCalls(WaitCalls):
    """Everything that can be read without changing anything; each call may be cancelled safely."""

    async def tasks(
        self,
        *,
        status: Status | None = None,
        agent: str | None = None,
        label: str | None = None,
        parent: str | None = None,
        session: str | None = None,
        limit: int | None = None,
        cursor: str | None = None,
    ) -> Page[Task]:
        """One page of tasks; `label` is `key:value`, `parent` and `session` are ids."""
        params: Params = {
            "status": status,
            "agent": agent,
            "label": label,
            "parent": parent,
            "session": session,
            "limit": limit,
            "cursor": cursor,
        }
        reply = await self._transport.get(f"{self._prefix}/tasks", params=params)
        return Page[Task].model_validate_json(reply.content)

    async def all_tasks(
        self,
        *,
        status: Status | None = None,
        agent: str | None = None,
        label: str | None = None,
        parent: str | None = None,
        session: str | None = None,
    ) -> AsyncIterator[Task]:
        """Every task that fits, page after page. A task that changes meanwhile is seen as it was on its page."""
        cursor: str | None = None
        while True:
            page = await self.tasks(
                status=status, agent=agent, label=label, parent=parent, session=session, limit=200, cursor=cursor
            )
            for task in page.items:
                yield task
            cursor = page.next_cursor
            if cursor is None:
                return

    async def why(self, task_id: str) -> Why:
        """What the task waits for."""
        reply = await self._transport.get(f"{self._prefix}/tasks/{part(task_id)}/why")
        return Why.model_validate_json(reply.content)

    async def attempts(self, task_id: str) -> list[Attempt]:
        """All attempts of the task."""
        path = f"{self._prefix}/tasks/{part(task_id)}/attempts"
        return await every_item(self._transport, path, Page[Attempt])

    async def attempt(self, task_id: str, attempt: int) -> Attempt:
        """One attempt by its number, counted from 1."""
        reply = await self._transport.get(f"{self._prefix}/tasks/{part(task_id)}/attempts/{attempt}")
        return Attempt.model_validate_json(reply.content)

    async def output(self, task_id: str, attempt: int) -> list[OutputRecord]:
        """Everything that the attempt has said so far, in order."""
        path = f"{self._prefix}/tasks/{part(task_id)}/attempts/{attempt}/output"
        return await every_item(self._transport, path, Page[OutputRecord])

    async def late_results(self, task_id: str, attempt: int) -> list[LateResult]:
        """Results that came when the attempt no longer counted; an operator may adopt one."""
        path = f"{self._prefix}/tasks/{part(task_id)}/attempts/{attempt}/late"
        return await every_item(self._transport, path, Page[LateResult])

    async def sessions(self) -> list[Session]:
        """The sessions that the server lists."""
        path = f"{self._prefix}/sessions"
        return await every_item(self._transport, path, Page[Session])

    async def session_by_id(self, session_id: str) -> Session:
        """One session."""
        reply = await self._transport.get(f"{self._prefix}/sessions/{part(session_id)}")
        return Session.model_validate_json(reply.content)

    async def registry(self) -> Registry:
        """The ids of bridges, hooks, backends, spawners and layers that are registered now."""
        reply = await self._transport.get(f"{self._prefix}/registry")
        return Registry.model_validate_json(reply.content)

    async def stats(self) -> Stats:
        """Counts of the whole server."""
        reply = await self._transport.get(f"{self._prefix}/stats")
        return Stats.model_validate_json(reply.content)

    def events(
        self,
        *,
        after: int | str | None = None,
        last: int | None = None,
        types: Sequence[str] = (),
        task: str | None = None,
    ) -> AsyncGenerator[Event | Lagged]:
        """Follow the feed, see `swarmhold.events.follow`."""
        return follow(self._transport, after=after, last=last, types=types, task=task)
