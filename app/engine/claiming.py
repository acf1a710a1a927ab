"""Claims that wait at this node: those that look into one queue at the same time do so in one transaction.

Each remains a call of its own, with its own credential, lease and outcome. A call's first look is its own too. Those
after hints are shared, so that a hint which wakes many workers for one attempt costs a look for each node.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextvars import Context
from dataclasses import dataclass
from functools import partial

from app.domain.errors import Busy, EngineError, StoreUnavailable
from app.engine.ops.queues import Claim, Line
from app.engine.transactions import Transactions
from app.state.state import State
from app.state.worker_threads import resolve

TOGETHER = 16
"""How many claims share a transaction at most."""

ClaimFn = Callable[[State, Line], Claim | None]
"""Claims for one caller. Raises EngineError before it has written anything."""
_Queue = tuple[str, tuple[str, ...]]
"""A queue, and the agents whose attempts are looked for."""


@dataclass(slots=True, eq=False)
class _Look:
    """One caller's look into a queue: since when the caller has waited, and what becomes of it."""

    claim: ClaimFn
    since: float
    found: asyncio.Future[Claim | None]


class WaitingClaims:
    """Lets claims that wait look together. What waits longest is served first."""

    def __init__(self, transactions: Transactions) -> None:
        self._transactions = transactions
        self._looks: dict[_Queue, list[_Look]] = {}
        self._running: dict[_Queue, asyncio.Task[None]] = {}

    async def look(self, queue: str, agents: tuple[str, ...], claim: ClaimFn, *, since: float) -> Claim | None:
        """Return what `claim` returns in a transaction that begins after this call. Raises what it raises.

        A caller that is cancelled before that transaction begins claims nothing.
        """
        loop, place = asyncio.get_running_loop(), (queue, agents)
        look = _Look(claim, since, loop.create_future())
        self._looks.setdefault(place, []).append(look)
        if place not in self._running:
            # In no caller's context: what runs here is of several.
            self._running[place] = loop.create_task(self._serve(place), name=f"claims of {queue}", context=Context())
        return await look.found

    async def finish(self) -> None:
        """Wait until every look that was asked for is over."""
        while self._running:
            await asyncio.wait(self._running.values())

    async def _serve(self, place: _Queue) -> None:
        """Carry out the looks into a queue, and those that are asked for meanwhile."""
        while looks := self._looks.pop(place, None):
            looks.sort(key=lambda look: look.since)
            for at in range(0, len(looks), TOGETHER):
                await self._carry_out(place, looks[at : at + TOGETHER])
        del self._running[place]

    async def _carry_out(self, place: _Queue, looks: list[_Look]) -> None:
        """Claim for all in one transaction, or for each in its own where that fails."""
        try:
            outcomes = await self._transactions.run("claim", partial(_claim_each, place=place, looks=looks))
        except Exception as error:  # noqa: BLE001 - raised again where each caller waits
            if len(looks) > 1 and not isinstance(error, StoreUnavailable):
                for look in looks:
                    await self._carry_out(place, [look])
                return
            outcomes = [(None, error)] * len(looks)
        for look, outcome in zip(looks, outcomes, strict=True):
            resolve(look.found, *outcome)


def _claim_each(state: State, place: _Queue, looks: list[_Look]) -> list[tuple[Claim | None, Exception | None]]:
    """Claim for each caller that is still there; the refusal of one leaves its attempt to the next."""
    outcomes: list[tuple[Claim | None, Exception | None]] = []
    line = Line(state, *place, claims=len(looks))
    for look in looks:
        found, refused = None, None
        try:
            found = None if look.found.done() else look.claim(state, line)
        except Busy:
            raise
        except EngineError as error:
            refused = error
        outcomes.append((found, refused))
    line.give_back()
    return outcomes
