"""Requests to a backend that wait for its acknowledgement.

A request's id is derived from its attempt and step, so that it is stable across connections: an acknowledgement of an
earlier connection's request counts on this one as well, even if it arrives before the request is repeated.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict

from app.spawning.backends.protocols import BackendGone
from swarmhold.models.frames import HookAck, SpawnAck

Ack = HookAck | SpawnAck

EARLY = 1000
"""Maximum number of acknowledgements kept for requests that were not made yet."""


def _finishes(ack: Ack | None) -> bool:
    return isinstance(ack, SpawnAck) and ack.finished


def req_id_of(step: str, task_id: str, attempt: int) -> str:
    """Return the id of a request: `spawn`, `before`, `after` or `cancel` of an attempt."""
    return f"{step}:{task_id}:{attempt}"


class PendingRequests:
    """The pending requests of one connection. Belongs to one event loop."""

    def __init__(self) -> None:
        self._waiting: dict[str, asyncio.Future[Ack]] = {}
        self._early: OrderedDict[str, Ack] = OrderedDict()
        self._gone = False

    def acknowledged(self, ack: Ack) -> None:
        """Record an acknowledgement. Duplicates are ignored, except a spawn's: it is started, then finished."""
        waiting = self._waiting.get(ack.req_id)
        if waiting is not None and not waiting.done():
            waiting.set_result(ack)
        elif (waiting is None or isinstance(ack, SpawnAck)) and not _finishes(self._early.get(ack.req_id)):
            self._early[ack.req_id] = ack
            if len(self._early) > EARLY:
                self._early.popitem(last=False)

    def begin(self, req_id: str) -> asyncio.Future[Ack]:
        """Register a request whose acknowledgement `finish` awaits. Raises BackendGone."""
        if self._gone:
            raise BackendGone
        waiting = self._waiting.get(req_id)
        if waiting is None:
            waiting = self._waiting[req_id] = asyncio.get_running_loop().create_future()
            if (early := self._early.pop(req_id, None)) is not None:
                waiting.set_result(early)
        return waiting

    async def finish(self, req_id: str, waiting: asyncio.Future[Ack]) -> Ack:
        """Return the acknowledgement. Raises BackendGone if the connection ends first. Cancelling drops the request."""
        try:
            return await asyncio.shield(waiting)
        finally:
            self._waiting.pop(req_id, None)

    def drop(self) -> None:
        """Fail all pending requests with BackendGone: the connection has ended."""
        self._gone = True
        for waiting in self._waiting.values():
            if not waiting.done():
                waiting.set_exception(BackendGone())
                # A cancelled request has no waiter to fail.
                waiting.exception()
