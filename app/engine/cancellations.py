"""Cancellations of large trees: the batches that follow the cancelled root, here and after a restart."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from functools import partial

from app.engine.dispatcher import cancel_and_wait
from app.engine.ops import cancelling
from app.engine.retrying import retry_while_busy
from app.engine.transactions import Transactions
from app.state.state import State

LONGEST_WAIT_S = 3600.0


class Cancellations:
    """Cancels the descendants of cancelled tasks, each tree in a task of its own."""

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
                for task_id in await retry_while_busy(wait, doing="await_cancellations") or ():
                    self._start(task_id)
        finally:
            await cancel_and_wait(list(self._running.values()))

    async def _not_begun(self) -> list[str] | None:
        found = await self._transactions.read(cancelling.unfinished)
        return [task_id for task_id in found if task_id not in self._running] or None

    def _start(self, task_id: str) -> asyncio.Task[None]:
        found = self._running.get(task_id)
        if found is None:
            found = asyncio.get_running_loop().create_task(self._run(task_id), name=f"cancel below {task_id}")
            self._running[task_id] = found
            found.add_done_callback(lambda _: self._running.pop(task_id, None))
        return found

    async def _run(self, task_id: str) -> None:
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

    async def _write(self, batch: Callable[[State], None]) -> None:
        run = partial(self._transactions.run, "cancel_descendants", batch)
        await retry_while_busy(run, doing="cancel_descendants")
