"""Long polls, which end with a result, when the client disconnects, or when the server shuts down.

A parked request is its own coroutine and, once it has waited for a moment, one more that listens for the client's
disconnect. Neither holds a thread.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, TypeVar

from starlette.requests import ClientDisconnect
from starlette.types import Receive, Scope

from app.domain.errors import QuotaExceeded
from app.domain.limits import Limits

R = TypeVar("R")

HALF_CLOSED = "http.half_closed"
"""The type of the message, and the key of the scope, that say that the client sends no more. It may be gone."""
PARKED = "swarmhold.parked"
"""The key of the scope that has the seconds for which a request was parked."""
LISTEN_AFTER_S = 0.05
"""Pause before a waiting request starts to listen for its client's disconnect."""


class Drained(Exception):
    """The server is shutting down: reply with the current result."""


class _Parked:
    """One waiting request; `end` may be called once, while it waits."""

    __slots__ = ("_deadline", "_half_closed", "client_left", "listener")

    def __init__(self, deadline: asyncio.Timeout, *, half_closed: Callable[[], None] | None) -> None:
        self._deadline = deadline
        self._half_closed = half_closed
        self.client_left = False
        self.listener: asyncio.Task[None] | None = None

    def end(self) -> None:
        """End the wait."""
        if not self._deadline.expired():
            self._deadline.reschedule(asyncio.get_running_loop().time())

    def listen(self, receive: Receive) -> None:
        """Start to listen for the client's disconnect."""
        self.listener = asyncio.create_task(self._until_gone(receive), name="listen for disconnect")

    async def _until_gone(self, receive: Receive) -> None:
        while (kind := (await receive())["type"]) != "http.disconnect":
            if kind == HALF_CLOSED:
                if self._half_closed is None:
                    break
                self._half_closed()
        self.client_left = kind == "http.disconnect"
        self.end()


class Shares:
    """How many of something each credential has at a time."""

    def __init__(self, quota: str, limit: int) -> None:
        self._quota = quota
        self._limit = limit
        self._taken: dict[str, int] = {}

    @property
    def taken(self) -> int:
        """How many are taken by all credentials."""
        return sum(self._taken.values())

    def take(self, credential: str) -> _Share:
        """Return what counts one more of this credential until the end of its `with` block.

        Its beginning raises QuotaExceeded.
        """
        # The end of a signature has several spellings.
        return _Share(self, credential.rpartition(".")[0] or credential)

    def add(self, credential: str) -> None:
        """Count one more of this credential. Raises QuotaExceeded."""
        taken = self._taken.get(credential, 0)
        if taken >= self._limit:
            raise QuotaExceeded(self._quota, self._limit)
        self._taken[credential] = taken + 1

    def remove(self, credential: str) -> None:
        """Count one less of this credential."""
        if (left := self._taken[credential] - 1) > 0:
            self._taken[credential] = left
        else:
            del self._taken[credential]


class _Share:
    """One of a credential's shares, counted inside a `with` block. Cheaper than a generator: every poll has one."""

    __slots__ = ("_credential", "_shares")

    def __init__(self, shares: Shares, credential: str) -> None:
        self._shares = shares
        self._credential = credential

    def __enter__(self) -> None:
        self._shares.add(self._credential)

    def __exit__(self, *_: object) -> None:
        self._shares.remove(self._credential)


class Holds:
    """The waiting requests of one server. `polls`, `claims` and `streams` bound those of one credential."""

    def __init__(self, limits: Limits | None = None) -> None:
        limits = limits or Limits()
        self.polls = Shares("parked", limits.parked)
        self.claims = Shares("claims", limits.claims)
        self.streams = Shares("streams", limits.streams)
        self._parked: set[_Parked] = set()
        self._draining = asyncio.Event()

    @property
    def parked(self) -> int:
        """How many requests are waiting."""
        return len(self._parked)

    @property
    def draining(self) -> bool:
        """Whether the server is shutting down, so that no request may wait any more."""
        return self._draining.is_set()

    async def until_draining(self) -> None:
        """Return when the server starts to shut down. Streams and WebSockets end then."""
        await self._draining.wait()

    def drain(self) -> None:
        """End every current and future wait. Idempotent."""
        self._draining.set()
        for parked in list(self._parked):
            parked.end()

    async def park(
        self,
        receive: Receive,
        waiting: Awaitable[R],
        scope: Scope,
        *,
        half_closed: Callable[[], None] | None = None,
    ) -> R:
        """Return the result of `waiting`, which is cancelled when the wait ends for another reason.

        With `half_closed` the wait goes on when the client closes its sending side, and this is called.
        The seconds of the wait are added to `PARKED` of the request's scope.

        Raises:
            Drained: the server stops, or the client has closed its sending side: it may be gone, and a reply now
                shows whether it is.
            ClientDisconnect: nobody is there to be answered.
        """
        loop = asyncio.get_running_loop()
        since = loop.time()
        async with asyncio.timeout(0 if self.draining else None) as deadline:
            parked = _Parked(deadline, half_closed=half_closed)
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
                scope[PARKED] = scope.get(PARKED, 0.0) + loop.time() - since
                self._parked.discard(parked)
                if parked.listener is not None:
                    parked.listener.cancel()


async def until_first(*parts: Coroutine[Any, Any, None]) -> None:
    """Run these at once until one of them ends, and cancel the others. Raises what the one that ended raises."""
    running = [asyncio.ensure_future(part) for part in parts]
    try:
        done, _ = await asyncio.wait(running, return_when=asyncio.FIRST_COMPLETED)
        for part in done:
            part.result()
    finally:
        for part in running:
            part.cancel()
        await asyncio.gather(*running, return_exceptions=True)
