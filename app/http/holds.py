"""Parked requests: long polls that end when they are answered, when the client leaves, or when the server stops.

A parked request is its own coroutine and, once it has waited for a moment, one more that listens for the client's
leaving. Neither holds a thread.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from typing import TypeVar

from starlette.requests import ClientDisconnect
from starlette.types import Receive

R = TypeVar("R")

LISTEN_AFTER_S = 0.05
"""Waits shorter than this end before their client could be missed."""


class Drained(Exception):
    """The server stops: answer with what there is."""


class _Parked:
    """One parked request; `end` may be called once, while it waits."""

    __slots__ = ("_deadline", "client_left", "listener")

    def __init__(self, deadline: asyncio.Timeout) -> None:
        self._deadline = deadline
        self.client_left = False
        self.listener: asyncio.Task[None] | None = None

    def end(self) -> None:
        """Wake the wait with its end."""
        if not self._deadline.expired():
            self._deadline.reschedule(asyncio.get_running_loop().time())

    def listen(self, receive: Receive) -> None:
        """Begin to listen for the client's leaving."""
        self.listener = asyncio.create_task(self._until_gone(receive), name="listen for disconnect")

    async def _until_gone(self, receive: Receive) -> None:
        while (await receive())["type"] != "http.disconnect":
            pass
        self.client_left = True
        self.end()


class Holds:
    """The parked requests of one server."""

    def __init__(self) -> None:
        self._parked: set[_Parked] = set()
        self._draining = asyncio.Event()

    @property
    def parked(self) -> int:
        """How many requests wait now."""
        return len(self._parked)

    @property
    def draining(self) -> bool:
        """Whether the server stops: nothing may be parked any more."""
        return self._draining.is_set()

    async def until_draining(self) -> None:
        """Return when the server begins to stop; for streams and sockets, which end then."""
        await self._draining.wait()

    def drain(self) -> None:
        """End every wait, now and from now on. Idempotent."""
        self._draining.set()
        for parked in list(self._parked):
            parked.end()

    async def park(self, receive: Receive, waiting: Awaitable[R]) -> R:
        """What `waiting` comes to. It is cancelled when the wait ends otherwise.

        Raises:
            Drained: the server stops.
            ClientDisconnect: nobody is there to be answered.
        """
        loop = asyncio.get_running_loop()
        async with asyncio.timeout(0 if self.draining else None) as deadline:
            parked = _Parked(deadline)
            self._parked.add(parked)
            timer = loop.call_later(LISTEN_AFTER_S, parked.listen, receive)
            try:
                return await waiting
            except asyncio.CancelledError:
                if not deadline.expired():
                    raise
                raise (ClientDisconnect if parked.client_left else Drained) from None
            finally:
                timer.cancel()
                self._parked.discard(parked)
                if parked.listener is not None:
                    parked.listener.cancel()
