"""The switch that pauses dispatching for the whole swarm."""

from __future__ import annotations

from app.domain.access import Verb
from app.domain.tokens import CapToken
from app.engine.ops import loop
from app.engine.ops.loop import LoopState
from app.engine.transactions import Transactions


class DispatchSwitch:
    """Calls that pause and resume dispatching."""

    def __init__(self, transactions: Transactions) -> None:
        self._transactions = transactions

    async def pause(self, token: CapToken) -> LoopState:
        """Pause dispatching: no new attempt starts until it is resumed. Idempotent."""
        return await self._transactions.call(
            "pause_loop", token, Verb.PAUSE_LOOP, lambda s, c: loop.switch(s, c, paused=True)
        )

    async def resume(self, token: CapToken) -> LoopState:
        """Resume dispatching. Idempotent."""
        return await self._transactions.call(
            "resume_loop", token, Verb.RESUME_LOOP, lambda s, c: loop.switch(s, c, paused=False)
        )

    async def state(self, token: CapToken) -> LoopState:
        """Return whether dispatching is paused, by whom, and since when."""
        return await self._transactions.read_as(token, (Verb.PAUSE_LOOP, Verb.RESUME_LOOP), lambda s, _: loop.read(s))
