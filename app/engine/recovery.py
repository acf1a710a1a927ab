"""Recovery: attempts that a dead server process was running, and those whose dispatch never learned of its commit."""

from __future__ import annotations

import asyncio

import structlog

from app.domain.attempts import Attempt, Phase
from app.domain.errors import Busy, Conflict, NotFound
from app.domain.redaction import describe
from app.engine.dispatcher import Dispatcher
from app.engine.ops import recovery
from app.engine.ops.recovery import Place, Walk
from app.engine.ops.rules import EngineCfg
from app.engine.retrying import retry_while_busy
from app.engine.transactions import Transactions
from app.spawning.stack import LinkedSpawner

SEARCH_AFTER_S = (0.5, 5.0, 60.0)
"""When to look after a commit whose outcome is unknown: the database may commit it until it drops the connection."""

_PAGE = 500

_log = structlog.get_logger(__name__)


class Recovery:
    """Finds attempts that this process has to run and does not, and hands them to the dispatcher."""

    def __init__(self, transactions: Transactions, *, dispatcher: Dispatcher, cfg: EngineCfg, node: str) -> None:
        self._transactions = transactions
        self._dispatcher = dispatcher
        self._cfg = cfg
        self._node = node

    # Attempts of commits whose outcome is unknown

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
        """Run what this process has to run and does not: its dispatch failed without knowing that it was committed."""
        position = ("", "", 0)
        while page := await self._orphans(position):
            for found in page:
                if not self._dispatcher.is_running(found.task_id, found.attempt):
                    await self._dispatcher.drive(found.task_id, found.attempt)
            position = page[-1].kind, page[-1].task_id, page[-1].attempt

    # Recovery

    async def recover(self) -> int:
        """Take over every attempt that a dead server process was running; return how many they were."""
        await self._transactions.run("grant_grace", recovery.grant_grace, bulk=True)
        count, position = 0, ("", "", 0)
        while page := await self._orphans(position):
            await asyncio.gather(*(self._recover_one(found.task_id, found.attempt) for found in page))
            count += len(page)
            position = page[-1].kind, page[-1].task_id, page[-1].attempt
        return count

    async def _orphans(self, after: Place) -> list[Attempt]:
        return await self._transactions.read(lambda state: recovery.orphans(state, after, _PAGE), bulk=True)

    async def _recover_one(self, task_id: str, number: int) -> None:
        walk = await self._transactions.run(
            "take_over", lambda state: recovery.take_over(state, task_id, number, self._node)
        )
        if walk is None:
            return
        linked = self._dispatcher.rebuild(walk)
        outlives = linked.acting(walk.facts).adapter.outlives_server
        if not outlives:
            await self._reap(walk, linked)
        if self._goes_on(walk, outlives):
            self._dispatcher.launch(walk, linked)
            return
        await self._lose(task_id, number)
        await self._dispatcher.drive(task_id, number, linked)

    async def _lose(self, task_id: str, number: int) -> None:
        detail = "the server process that ran its worker died"
        try:
            await self._transactions.run("lost", lambda state: recovery.lost(state, task_id, number, detail))
        except (Conflict, NotFound) as error:
            _log.info("attempt_over_already", task_id=task_id, attempt=number, reason=str(error))
        except Busy:
            raise
        except Exception as error:  # noqa: BLE001 - a layer's fault in one task's settling must not hold up all others
            _log.warning("attempt_not_lost", task_id=task_id, attempt=number, error=describe(error), exc_info=True)

    async def _reap(self, walk: Walk, linked: LinkedSpawner) -> None:
        """End what the dead server process left of a worker, whatever happened to the attempt since."""
        try:
            await linked.reap(recovery.job(walk, self._cfg.base_url), self._cfg.stop_grace_ms / 1000)
        except Exception as error:  # noqa: BLE001 - a spawner's own fault must not keep the server from starting
            key = {"task_id": walk.task.id, "attempt": walk.attempt.attempt}
            _log.warning("reap_failed", **key, error=describe(error), exc_info=True)

    @staticmethod
    def _goes_on(walk: Walk, outlives: bool) -> bool:
        """Return whether the attempt goes on: its worker was not started yet, outlives the server, or has submitted."""
        if walk.attempt.phase in (Phase.WAITING, Phase.FINISHING, Phase.HELD):
            return True
        return outlives
