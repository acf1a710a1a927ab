"""A caller's own session: staying attached and leaving."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager, suppress
from datetime import timedelta

from swarmhold.callers import Caller
from swarmhold.errors import ApiProblem, Unreachable
from swarmhold.models.sessions import Session


class SessionCalls(Caller):
    """What every attached caller may do about itself."""

    async def session(self) -> Session:
        """The caller's own session."""
        reply = await self._transport.get(f"{self._prefix}/session")
        return Session.model_validate_json(reply.content)

    async def heartbeat(self) -> None:
        """Say that the caller is still there; it also brings a detached session back."""
        await self._transport.post(f"{self._prefix}/session/heartbeat", repeatable=True)

    async def detach(self) -> None:
        """Leave. Tasks stay."""
        await self._transport.delete(f"{self._prefix}/session", repeatable=False)

    @asynccontextmanager
    async def staying_attached(self, *, interval: timedelta = timedelta(seconds=300)) -> AsyncGenerator[None]:
        """Send heartbeats in the background while the block runs. They end with it and never raise into it."""
        beating = asyncio.create_task(self._beat(interval), name="session heartbeat")
        try:
            yield
        finally:
            beating.cancel()
            with suppress(asyncio.CancelledError, ApiProblem):
                await beating

    async def _beat(self, interval: timedelta) -> None:
        while True:
            await asyncio.sleep(interval.total_seconds())
            # The next beat makes up for one that did not get through; a refusal ends the beating.
            with suppress(Unreachable):
                await self.heartbeat()
