"""Recovery: take over the attempts of dead server processes, and find those whose dispatch failed in doubt."""

from __future__ import annotations

import asyncio
from functools import partial

import structlog

from app.domain.attempts import Attempt, Phase
from app.domain.errors import Busy, Conflict, NotFound
from app.domain.redaction import describe
from app.engine.dispatcher import Dispatcher
from app.engine.ops import leases, recovery, settling
from app.engine.ops.rules import EngineCfg
from app.engine.retrying import retry_while_busy
from app.engine.transactions import Transactions
from app.spawning.ports import Job
from app.spawning.stack import ActiveStack

SEARCH_AFTER_S = (0.5, 5.0, 60.0)
"""When to look after a commit whose outcome is unknown: the database may commit it until it drops the connection."""

_PAGE = 500
_GOES_ON = (Phase.WAITING, Phase.HELD, Phase.FINISHING)
"""Phases in which an attempt needs no worker of the dead process: it was not started yet, or has submitted."""

_log = structlog.get_logger(__name__)


class Recovery:
    """Finds attempts that have to be run and do not run, and has the dispatcher run or settle them."""

    def __init__(self, transactions: Transactions, *, dispatcher: Dispatcher, cfg: EngineCfg) -> None:
        self._transactions = transactions
        self._dispatcher = dispatcher
        self._cfg = cfg

    async def recover(self) -> int:
        """Take over every attempt that a dead server process was running; return how many they were."""
        await self._transactions.run("extend_leases", leases.extend_all, bulk=True)
        count, position = 0, recovery.FIRST_PAGE
        while page := await self._to_run(position):
            await asyncio.gather(*(self._recover(found.task_id, found.attempt) for found in page))
            count, position = count + len(page), recovery.position_of(page[-1])
        return count

    async def keep_searching(self) -> None:
        """After each commit whose outcome is unknown, look for attempts that it may have prepared. Runs for ever."""
        in_doubt = self._transactions.in_doubt
        while True:
            await in_doubt.wait()
            in_doubt.clear()
            for pause in SEARCH_AFTER_S:
                await asyncio.sleep(pause)
                try:
                    await retry_while_busy(self.run_undriven, doing="search_undriven_attempts")
                except Exception:  # noqa: BLE001 - one failure must not end a loop that runs as long as the server
                    _log.exception("search_failed")

    async def run_undriven(self) -> None:
        """Run attempts of this process that have no driver: their dispatch failed in doubt whether it was committed."""
        position = recovery.FIRST_PAGE
        while page := await self._to_run(position):
            for found in page:
                await self._dispatcher.run_again(found.task_id, found.attempt)
            position = recovery.position_of(page[-1])

    async def _to_run(self, after: recovery.Position) -> list[Attempt]:
        return await self._transactions.read(lambda state: recovery.to_drive(state, after, _PAGE), bulk=True)

    async def _recover(self, task_id: str, number: int) -> None:
        """Reap what does not outlive a server process; then run the attempt, or settle it as lost."""
        owner, base_url = self._dispatcher.node, self._cfg.base_url
        taken = await self._transactions.run(
            "take_over", lambda state: recovery.take_over(state, task_id, number, owner, base_url)
        )
        if taken is None:
            return
        attempt, job = taken
        stack = self._dispatcher.rebuild(attempt).resolve(job.facts)
        if not stack.spawner.outlives_server:
            await self._reap(job, stack)
        if stack.spawner.outlives_server or attempt.phase in _GOES_ON:
            self._dispatcher.run(attempt, job, stack)
            return
        await self._lose(task_id, number)
        await self._dispatcher.run_again(task_id, number)

    async def _reap(self, job: Job, stack: ActiveStack) -> None:
        """End what the dead server process left of a worker, whatever happened to the attempt since."""
        try:
            await stack.reap(job, self._cfg.stop_grace_ms / 1000)
        except Exception as error:  # noqa: BLE001 - a spawner's own fault must not keep the server from starting
            _log.warning("reap_failed", task_id=job.task_id, attempt=job.attempt, error=describe(error), exc_info=True)

    async def _lose(self, task_id: str, number: int) -> None:
        detail = "the server process that ran its worker died"
        lose = partial(settling.lose_orphan, task_id=task_id, number=number, detail=detail)
        try:
            await self._transactions.run("lose_orphan", lose)
        except (Conflict, NotFound) as error:
            _log.info("attempt_over_already", task_id=task_id, attempt=number, reason=str(error))
        except Busy:
            raise
        except Exception as error:  # noqa: BLE001 - a fault in one task's settling must not hold up all others
            _log.warning("attempt_not_lost", task_id=task_id, attempt=number, error=describe(error), exc_info=True)
