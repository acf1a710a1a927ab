"""Recovery: claim the attempts that no living node drives, and find those whose dispatch failed in doubt."""

from __future__ import annotations

import asyncio
from collections import Counter
from functools import partial

import structlog

from app.bus.port import HintBus
from app.domain.attempts import Attempt, Phase
from app.domain.errors import Busy, Conflict, NotFound
from app.domain.redaction import describe
from app.engine.dispatcher import Dispatcher
from app.engine.nodes import Nodes
from app.engine.ops import leases, recovery, settling
from app.engine.ops.rules import EngineCfg
from app.engine.retrying import repeat_on_hints, try_step
from app.engine.transactions import Transactions
from app.spawning.ports import Job
from app.spawning.stack import ActiveStack

SEARCH_AFTER_S = (0.5, 5.0, 60.0)
"""When to look after a commit whose outcome is unknown: the database may commit it until it drops the connection."""

_PAGE = 500
_BATCH = 50
"""How many attempts one transaction claims at most."""
_GOES_ON = (Phase.WAITING, Phase.HELD, Phase.FINISHING)
"""Phases in which an attempt needs no worker of the node before: it was not started yet, or has submitted."""

_log = structlog.get_logger(__name__)


class Recovery:
    """Finds attempts that have to be run and do not run, and has the dispatcher run or settle them."""

    def __init__(
        self, transactions: Transactions, *, dispatcher: Dispatcher, nodes: Nodes, bus: HintBus, cfg: EngineCfg
    ) -> None:
        self._transactions = transactions
        self._dispatcher = dispatcher
        self._nodes = nodes
        self._bus = bus
        self._cfg = cfg
        self.takeovers: Counter[str] = Counter(rejoined=0, lost=0)
        """How many attempts were taken over from nodes that died, by what became of them."""
        self._look_every_s = cfg.cluster.heartbeat_ms / 2000
        self._alone = False

    async def recover(self) -> int:
        """Claim every attempt that no living node drives; return how many they were. At the start of a node."""
        await self._nodes.declare_gone()
        await self._extend_if_alone()
        return await self.claim_all()

    async def _extend_if_alone(self) -> None:
        """Let every lease begin anew if nobody is left who may have recorded heartbeats before this node did."""
        was_alone, self._alone = self._alone, not await self._nodes.others_alive()
        if self._alone and not was_alone:
            await self._transactions.run("extend_leases", leases.extend_all, bulk=True)

    async def run(self) -> None:
        """Keep claiming, and searching after commits in doubt. Runs until cancelled."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._keep_claiming())
            group.create_task(self._keep_searching())

    async def _keep_claiming(self) -> None:
        """Declare nodes dead whose lease is over, and claim what nobody drives. Runs for ever."""
        await repeat_on_hints(
            self._bus,
            recovery.TOPIC,
            self._look,
            every_s=self._look_every_s,
            doing="claim_attempts",
            failure="claiming_failed",
        )

    async def _look(self) -> None:
        if self._nodes.draining or self._nodes.fenced.is_set():
            return
        if await self._nodes.declare_dead():
            await self._extend_if_alone()
        if await self._transactions.read(lambda state: recovery.may_claim(state, self._dispatcher.node)):
            await self.claim_all()

    async def claim_all(self) -> int:
        """Claim what nobody drives, batch after batch, and run it; return how many attempts they were."""
        count, cfg = 0, self._cfg
        claim = partial(recovery.claim, cfg=cfg, limit=_BATCH)
        while claimed := await self._transactions.run(
            "claim_attempts", lambda state: claim(state, self._dispatcher.node)
        ):
            _log.info("attempts_claimed", count=len(claimed))
            await asyncio.gather(*map(self._begin, claimed))
            count += len(claimed)
        return count

    async def _begin(self, claimed: recovery.Claimed) -> None:
        """Reap what does not outlive a node; then run the attempt, or settle it as lost."""
        attempt, job, from_dead = claimed
        stack = self._dispatcher.rebuild(attempt).resolve(job.facts)
        if not stack.spawner.outlives_server:
            await self._reap(job, stack)
        goes_on = stack.spawner.outlives_server or attempt.phase in _GOES_ON
        if from_dead:
            self.takeovers["rejoined" if goes_on else "lost"] += 1
        if goes_on:
            self._dispatcher.run(attempt, job, stack)
            return
        await self._lose(job.task_id, job.attempt)
        await self._dispatcher.run_again(job.task_id, job.attempt)

    async def _keep_searching(self) -> None:
        """After each commit whose outcome is unknown, look for attempts that it may have prepared. Runs for ever."""
        in_doubt = self._transactions.in_doubt
        while True:
            await in_doubt.wait()
            in_doubt.clear()
            for pause in SEARCH_AFTER_S:
                await asyncio.sleep(pause)
                await try_step(self.run_undriven, doing="search_undriven_attempts", failure="search_failed")

    async def run_undriven(self) -> None:
        """Run attempts of this node that have no driver: their dispatch failed in doubt whether it was committed."""
        position = recovery.FIRST_PAGE
        while page := await self._driven_here(position):
            for found in page:
                await self._dispatcher.run_again(found.task_id, found.attempt)
            position = recovery.position_of(page[-1])

    async def _driven_here(self, after: recovery.Position) -> list[Attempt]:
        look = partial(recovery.driven_by, node=self._dispatcher.node, after=after, limit=_PAGE)
        return await self._transactions.read(look, bulk=True)

    async def _reap(self, job: Job, stack: ActiveStack) -> None:
        """End what the node before left of a worker, whatever happened to the attempt since."""
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
