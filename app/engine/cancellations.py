"""Cancellations of large trees and of a session's many tasks: the batches that follow, here and after a restart."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from functools import partial
from typing import TypeVar

from app.domain.ids import is_id
from app.engine.dispatcher import cancel_and_wait
from app.engine.ops import cancelling
from app.engine.retrying import retry_while_busy
from app.engine.transactions import Transactions
from app.state.state import State

R = TypeVar("R")

LONGEST_WAIT_S = 3600.0


class Cancellations:
    """Cancels the descendants of cancelled tasks and the tasks of lost sessions, each in an asyncio task of its own."""

    def __init__(self, transactions: Transactions) -> None:
        self._transactions = transactions
        self._running: dict[str, asyncio.Task[None]] = {}

    async def finish(self, task_id: str) -> None:
        """Wait until every descendant of a cancelled task is cancelled. Cancelling the caller does not stop that."""
        await asyncio.shield(self._start(task_id))

    async def run(self) -> None:
        """Finish every unfinished cancellation, those of an earlier server process included. Runs until cancelled."""
        topics = (cancelling.TOPIC,)
        try:
            while True:
                wait = partial(self._transactions.wait, topics, self._not_begun, LONGEST_WAIT_S)
                for id in await retry_while_busy(wait, doing="await_cancellations") or ():
                    self._start(id)
        finally:
            await cancel_and_wait(list(self._running.values()))

    async def _not_begun(self) -> list[str] | None:
        found = await self._transactions.read(cancelling.unfinished)
        return [id for id in found if id not in self._running] or None

    def _start(self, id: str) -> asyncio.Task[None]:
        found = self._running.get(id)
        if found is None:
            run = self._run_session(id) if is_id(id, "S") else self._run_tree(id)
            found = asyncio.get_running_loop().create_task(run, name=f"cancel below {id}")
            self._running[id] = found
            found.add_done_callback(lambda _: self._running.pop(id, None))
        return found

    async def _run_session(self, session_id: str) -> None:
        after: str | None = ""
        while after is not None:
            after = await self._write(partial(cancelling.cancel_more_of, session_id=session_id, after=after))

    async def _run_tree(self, task_id: str) -> None:
        """Cancel batch after batch until no task is left: a worker may have started another child meanwhile."""
        by, ids, _ = await self._left(task_id)
        while by is not None:
            for at in range(0, len(ids), cancelling.BATCH):
                await self._write(partial(cancelling.cancel_all, ids=ids[at : at + cancelling.BATCH], by=by))
            by, ids, alive = await self._left(task_id)
            if not alive:
                await self._write(partial(cancelling.finish, task_id=task_id))
                return

    async def _left(self, task_id: str) -> tuple[str | None, list[str], bool]:
        look = partial(cancelling.left_below, task_id=task_id)
        return await retry_while_busy(lambda: self._transactions.read(look, bulk=True), doing="cancel_descendants")

    async def _write(self, batch: Callable[[State], R]) -> R:
        return await retry_while_busy(
            lambda: self._transactions.run("cancel_descendants", batch), doing="cancel_descendants"
        )
