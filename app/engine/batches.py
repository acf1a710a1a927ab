"""Work that one transaction only begins, so as not to hold the store: the batches after it, here and after a restart.

These are cancellations of large trees and of a session's many tasks, and revocations of what descends from a key or
token.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from functools import partial
from typing import Any, TypeVar

from app.domain.ids import is_id
from app.engine.dispatcher import cancel_and_wait, to_the_end
from app.engine.ops import cancelling, revoking
from app.engine.retrying import retry_while_busy
from app.engine.transactions import Transactions
from app.state.state import State
from app.state.tables import try_lock_meta

R = TypeVar("R")

LONGEST_WAIT_S = 3600.0
WHILE_TAKEN_S = 0.05
"""Pause while another node carries out a batch of the same work."""


class Batches:
    """Finishes cancellations and revocations, each in an asyncio task of its own."""

    def __init__(self, transactions: Transactions) -> None:
        self._transactions = transactions
        self._running: dict[str, asyncio.Task[None]] = {}

    async def finish(self, id: str) -> None:
        """Wait until every descendant of a cancelled task, a revoked key or token is cancelled or revoked.

        Cancelling the caller does not stop that. Raises StoreUnavailable when the engine stops first; it goes on after
        the next start.
        """
        await to_the_end(self._start(id), unsure=True)

    async def finish_revocations(self) -> None:
        """Wait until everything below revoked keys and tokens is revoked."""
        for id in await self._transactions.read(revoking.unfinished):
            await self.finish(id)

    async def run(self) -> None:
        """Finish what is unfinished, also of other nodes. Runs until cancelled."""
        topics = (cancelling.TOPIC,)
        try:
            while True:
                wait = partial(self._transactions.wait, topics, self._not_begun, LONGEST_WAIT_S)
                for id in await retry_while_busy(wait, doing="await_batches") or ():
                    self._start(id)
        finally:
            await cancel_and_wait(list(self._running.values()))

    async def _not_begun(self) -> list[str] | None:
        found = await self._transactions.read(lambda s: cancelling.unfinished(s) + revoking.unfinished(s))
        return [id for id in found if id not in self._running] or None

    def _start(self, id: str) -> asyncio.Task[None]:
        found = self._running.get(id)
        if found is None:
            found = asyncio.get_running_loop().create_task(self._run_for(id), name=f"batches below {id}")
            self._running[id] = found
            found.add_done_callback(lambda _: self._running.pop(id, None))
        return found

    def _run_for(self, id: str) -> Coroutine[Any, Any, None]:
        if is_id(id, "T"):
            return self._run_tree(id)
        return self._run_session(id) if is_id(id, "S") else self._run_revocation(id)

    async def _run_session(self, session_id: str) -> None:
        after: str | None = ""
        while after is not None:
            batch = partial(cancelling.cancel_more_of, session_id=session_id, after=after)
            after = await self._write("cancel_descendants", cancelling.mark_of(session_id), batch)

    async def _run_tree(self, task_id: str) -> None:
        """Cancel batch after batch until no task is left: a worker may have started another child meanwhile."""
        look, mark = partial(cancelling.left_below, task_id=task_id), cancelling.mark_of(task_id)
        by, ids, _ = await self._read("cancel_descendants", look)
        while by is not None:
            for at in range(0, len(ids), cancelling.BATCH):
                batch = partial(cancelling.cancel_all, ids=ids[at : at + cancelling.BATCH], by=by)
                await self._write("cancel_descendants", mark, batch)
            by, ids, alive = await self._read("cancel_descendants", look)
            if not alive:
                await self._write("cancel_descendants", mark, partial(cancelling.finish, task_id=task_id))
                return

    async def _run_revocation(self, id: str) -> None:
        """Revoke batch after batch until nothing is left: a descendant may have minted or dispatched meanwhile."""
        mark, before = revoking.mark_of(id), list[revoking.Credential]()
        while (left := await self._read("revoke_descendants", partial(revoking.left_below, id=id))) is not None:
            if left == before:
                await self._write("revoke_descendants", mark, partial(revoking.finish, id=id))
                return
            for at in range(0, len(left), revoking.BATCH):
                batch = partial(revoking.revoke_all, credentials=left[at : at + revoking.BATCH])
                await self._write("revoke_descendants", mark, batch)
            before = left

    async def _read(self, doing: str, look: Callable[[State], R]) -> R:
        return await retry_while_busy(lambda: self._transactions.read(look, bulk=True), doing=doing)

    async def _write(self, doing: str, mark: str, batch: Callable[[State], R]) -> R:
        """Carry out a batch as soon as no other node is at one of the same work."""

        def claim_and_run(state: State) -> tuple[R] | None:
            return (batch(state),) if try_lock_meta(state.db, mark) else None

        while True:
            done = await retry_while_busy(lambda: self._transactions.run(doing, claim_and_run), doing=doing)
            if done is not None:
                return done[0]
            await asyncio.sleep(WHILE_TAKEN_S)
