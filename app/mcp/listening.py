"""Streams of changes: tasks and resources that a client listens to, fed by the event feed.

A stream says that something changed since it began, and of a task what it is now. Nothing is sent again: a client whose
stream broke listens anew and reads.
"""

from __future__ import annotations

import asyncio
import re
from collections import defaultdict
from collections.abc import Awaitable, Callable, Coroutine
from dataclasses import dataclass, field
from typing import Any, Literal

from mcp import types
from mcp.shared.exceptions import MCPError
from mcp.shared.subscriptions import SUBSCRIPTION_ID_META_KEY
from pydantic import TypeAdapter, ValidationError

from app.domain.errors import QuotaExceeded
from app.domain.events import Event, Lagged
from app.domain.namespaces import ALL_ID
from app.domain.questions import ASKED, SETTLED
from app.domain.tokens import Bearer
from app.http.holds import until_first
from app.mcp.calls import Value
from app.mcp.requests import RequestContext, bearer_of, client_of, server_of
from app.mcp.resources import OPEN_URI, read_value
from app.mcp.tasks_extension import TasksExtension, require_extension

MOST = 100
"""Tasks and resources that one stream may listen to."""
_GATHER_S = 0.05
"""For how long changes are gathered that come together."""
_MOST_GATHERED = 500
_TEXTS = TypeAdapter(list[str])
_ID = re.compile(r"[RT]-[0-9a-z]+")
_OF_INBOX = ASKED | SETTLED.keys()


class _TaskNotification(types.Notification[dict[str, Any], Literal["notifications/tasks"]]):
    method: Literal["notifications/tasks"] = "notifications/tasks"


@dataclass(slots=True)
class Followed:
    """One task or resource of a stream: `state` is what was last said of a task, None for a resource."""

    name: str
    state: Value | None = None


@dataclass(slots=True)
class Wanted:
    """All that one stream follows: by the task whose events change it, and beside those the open questions."""

    by_task: dict[str, list[Followed]] = field(default_factory=lambda: defaultdict[str, list[Followed]](list))
    inbox: bool = False
    namespace: int = ALL_ID

    def changed_by(self, batch: list[Event | Lagged]) -> tuple[list[Followed], bool]:
        """Return what these items change, and whether the open questions are among it."""
        if any(isinstance(item, Lagged) for item in batch):
            return [one for found in self.by_task.values() for one in found], self.inbox
        events = [item for item in batch if isinstance(item, Event)]
        tasks = {event.task_id for event in events}
        inbox = self.inbox and any(self._is_of_inbox(event) for event in events)
        return [one for task_id, found in self.by_task.items() if task_id in tasks for one in found], inbox

    def _is_of_inbox(self, event: Event) -> bool:
        return event.kind in _OF_INBOX and self.namespace in (event.namespace, ALL_ID)


class Listening:
    """Serves `subscriptions/listen`."""

    def __init__(self, tasks: TasksExtension) -> None:
        self._tasks = tasks

    async def __call__(
        self, context: RequestContext, params: types.SubscriptionsListenRequestParams
    ) -> types.SubscriptionsListenResult:
        """Follow until the client leaves, its credential ends or the server stops. Raises MCPError."""
        task_ids, uris = _asked(context, params.notifications)
        try:
            with server_of(context).holds.streams.take(client_of(context).credential):
                async with _Stream(context, self._tasks) as stream:
                    honored = types.SubscriptionFilter.model_validate(await stream.begin(task_ids, uris))
                    await stream.acknowledge(honored)
                    await stream.run()
        except QuotaExceeded as error:
            raise MCPError(types.INTERNAL_ERROR, str(error), {"code": "quota-exceeded"}) from None
        return types.SubscriptionsListenResult(_meta={SUBSCRIPTION_ID_META_KEY: context.request_id})


def _asked(context: RequestContext, wanted: types.SubscriptionFilter) -> tuple[list[str], list[str]]:
    """Return the ids and addresses that a client wants to listen to. Raises MCPError."""
    try:
        task_ids = _TEXTS.validate_python((wanted.model_extra or {}).get("taskIds") or [])
    except ValidationError:
        raise MCPError(types.INVALID_PARAMS, "taskIds is a list of texts.") from None
    if task_ids:
        require_extension(context)
    uris = wanted.resource_subscriptions or []
    if len(task_ids) + len(uris) > MOST:
        raise MCPError(types.INVALID_PARAMS, f"A stream listens to {MOST} tasks and resources at most.")
    return list(dict.fromkeys(task_ids)), list(dict.fromkeys(uris))


class _Stream:
    """One stream, from before what it follows is read until its end."""

    def __init__(self, context: RequestContext, tasks: TasksExtension) -> None:
        self._context = context
        self._tasks = tasks
        self._server = server_of(context)
        self._meta = {SUBSCRIPTION_ID_META_KEY: context.request_id}
        self._wanted = Wanted()
        self._bearer: Bearer | None = None
        self._events = self._server.engine.feed.follow()

    async def __aenter__(self) -> _Stream:
        """Begin to receive events, so that nothing is missed of what is read afterwards."""
        await self._events.open()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._events.aclose()

    async def begin(self, task_ids: list[str], uris: list[str]) -> Value:
        """Read what is asked for and return what is followed of it: what there is for this credential."""
        tasks = [name for name in task_ids if await self._begins(name, self._follow_task)]
        resources = [uri for uri in uris if await self._begins(uri, self._follow_resource)]
        return {name: found for name, found in (("taskIds", tasks), ("resourceSubscriptions", resources)) if found}

    async def _begins(self, name: str, follow: Callable[[str], Awaitable[None]]) -> bool:
        try:
            await follow(name)
        except MCPError as error:
            if error.code != types.INVALID_PARAMS:
                raise
            return False
        if self._bearer is None:
            about = _ID.search(name)
            self._bearer = bearer_of(await self._tasks.reading(self._context, about[0] if about else ""))
            self._wanted.namespace = (await self._server.engine.credentials.whoami(self._bearer)).namespace
        return True

    async def _follow_task(self, name: str) -> None:
        state = await self._tasks.state(self._context, name)
        self._wanted.by_task[await self._tasks.task_of(self._context, name)].append(Followed(name, state))

    async def _follow_resource(self, uri: str) -> None:
        value = await read_value(self._context, uri)
        if uri == OPEN_URI:
            self._wanted.inbox = True
        else:
            self._wanted.by_task[value.get("task_id") or value["id"]].append(Followed(uri))

    async def acknowledge(self, honored: types.SubscriptionFilter) -> None:
        """Say what is followed: the first message of the stream."""
        params = types.SubscriptionsAcknowledgedNotificationParams(notifications=honored, _meta=self._meta)
        await self._send(types.SubscriptionsAcknowledgedNotification(params=params))

    async def run(self) -> None:
        """Send changes until the credential is no longer valid or the server stops."""
        ends: list[Coroutine[Any, Any, None]] = [self._server.holds.until_draining()]
        if self._bearer is not None:
            poll_interval_s = self._server.settings.sse_recheck.total_seconds()
            until_invalid = self._server.engine.credentials.wait_until_invalid
            ends += [self._pump(), until_invalid(self._bearer, poll_interval_s=poll_interval_s)]
        await until_first(*ends)

    async def _pump(self) -> None:
        while batch := await self._batch():
            changed, inbox = self._wanted.changed_by(batch)
            for one in changed:
                await self._tell(one)
            if inbox:
                await self._send_updated(OPEN_URI)

    async def _batch(self) -> list[Event | Lagged]:
        """Return the next items and those that come shortly after; none at the end of the feed."""
        batch: list[Event | Lagged] = []
        try:
            batch.append(await anext(self._events))
            async with asyncio.timeout(_GATHER_S):
                while len(batch) < _MOST_GATHERED:
                    batch.append(await anext(self._events))
        except (TimeoutError, StopAsyncIteration):
            pass
        return batch

    async def _tell(self, one: Followed) -> None:
        """Say what became of a task, if anything did, or that a resource may have changed."""
        if one.state is None:
            await self._send_updated(one.name)
            return
        try:
            state = await self._tasks.state(self._context, one.name)
        except MCPError:
            return  # it is gone, or the credential is, which ends the stream
        if _without_pace(state) != _without_pace(one.state):
            one.state = state
            await self._send(_TaskNotification(params={**state, "_meta": self._meta}))

    async def _send_updated(self, uri: str) -> None:
        params = types.ResourceUpdatedNotificationParams(uri=uri, _meta=self._meta)
        await self._send(types.ResourceUpdatedNotification(params=params))

    async def _send(self, notification: Any) -> None:
        await self._context.session.send_notification(notification, related_request_id=self._context.request_id)


def _without_pace(state: Value) -> Value:
    """Return a state without what changes by time alone."""
    return {name: value for name, value in state.items() if name != "pollIntervalMs"}
