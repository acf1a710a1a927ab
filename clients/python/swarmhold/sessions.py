"""The calls of a session about itself, and the observer, which has little else."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager, suppress
from datetime import timedelta

from swarmhold.call_retry import TRANSIENT_STATUSES
from swarmhold.calls import Calls, read
from swarmhold.errors import ApiProblem, Error, Unreachable
from swarmhold.models.sessions import Session
from swarmhold.traces import TraceCalls


class SessionCalls(Calls):
    """Calls about the caller's own session."""

    async def session(self) -> Session:
        """Return the caller's own session."""
        return read(Session, await self._transport.get(f"{self._prefix}/session"))

    async def heartbeat(self) -> None:
        """Record a heartbeat of the session; it also attaches a detached one again."""
        await self._transport.post(f"{self._prefix}/session/heartbeat", repeatable=True)

    async def detach(self) -> None:
        """Detach the session. Tasks stay."""
        await self._transport.delete(f"{self._prefix}/session", repeatable=False)

    @asynccontextmanager
    async def staying_attached(self, *, interval: timedelta = timedelta(seconds=300)) -> AsyncGenerator[None]:
        """Send heartbeats in the background while the block runs. They end with it and never raise into it."""
        beating = asyncio.create_task(self._beat(interval), name="session heartbeat")
        try:
            yield
        finally:
            beating.cancel()
            with suppress(asyncio.CancelledError, Error):
                await beating

    async def _beat(self, interval: timedelta) -> None:
        while True:
            await asyncio.sleep(interval.total_seconds())
            # The next heartbeat makes up for one that failed; a refusal for good ends them.
            with suppress(Unreachable):
                try:
                    await self.heartbeat()
                except ApiProblem as problem:
                    if problem.status not in TRANSIENT_STATUSES:
                        raise


class Observer(SessionCalls, TraceCalls):
    """An observer's session or minted token."""
