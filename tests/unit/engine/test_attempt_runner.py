"""The runner of one attempt, built from a store and a spawner alone: no engine, no dispatcher."""

import asyncio
import os
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

import pytest

from app.bus.local import LocalBus
from app.domain.access import ENGINE, RoleVerbGate
from app.domain.attempts import Attempt, Phase, Reason
from app.domain.errors import AttemptSuperseded, InvalidRequest
from app.domain.handles import HandleMint
from app.domain.json import Json
from app.domain.outputs import Final, OutputEvent
from app.domain.tasks import Status, Task, TaskSpec
from app.domain.tokens import CapToken, SigningKey, TokenSigner
from app.engine.attempt_runner import AttemptControl, AttemptRunner, RunnerParts
from app.engine.feed import Feed
from app.engine.ops import dispatches, recovery, tasks
from app.engine.ops.dispatches import DispatchRequest, Prepared
from app.engine.ops.rules import EngineCfg
from app.engine.transactions import Transactions
from app.spawning.ports import Exit, Job, LayerRegistry, SpawnFailed, SpawnRefused
from app.spawning.stack import SpawnerStack
from app.state.opening import open_store
from app.state.state import State
from app.state.tables import ATTEMPTS, OUTPUTS, TASKS
from tests.support.scripted import ScriptedSpawner, ScriptedWorker

CFG = EngineCfg(stop_grace_ms=50)
DONE = Exit(final=Final(value=Json.of("done"), ok=True))


@dataclass
class Stage:
    """A store with what a runner needs of an engine."""

    parts: RunnerParts

    async def prepared(self, spawner: ScriptedSpawner) -> Prepared:
        """A new attempt of a new task."""

        def run(state: State) -> Prepared:
            task = tasks.start(state, CFG, ENGINE, TaskSpec(agent="coder", initial_directive="Do it."))
            request = DispatchRequest(stack=SpawnerStack(spawner, (), ()), lease_ms=None, owner="N-1")
            return dispatches.prepare(state, CFG, ENGINE, task.id, request)

        return await self.parts.transactions.run("prepare", run)

    def runner(self, prepared: Prepared) -> AttemptRunner:
        """Its runner."""
        assert prepared.job is not None
        return AttemptRunner(self.parts, prepared.attempt, prepared.job, prepared.stack)

    async def rows(self, prepared: Prepared) -> tuple[Task, Attempt]:
        """Task and attempt as they are now."""
        key = prepared.attempt.task_id, prepared.attempt.attempt

        def read(state: State) -> tuple[Task | None, Attempt | None]:
            return TASKS.get(state.db, key[0]), ATTEMPTS.get(state.db, *key)

        task, attempt = await self.parts.transactions.read(read)
        assert task is not None
        assert attempt is not None
        return task, attempt

    async def take_over(self, prepared: Prepared) -> None:
        """Another server process takes the attempt over."""
        ((_, job, _),) = await self.parts.transactions.run("claim", lambda state: recovery.claim(state, "N-2", CFG, 10))
        assert job.task_id == prepared.attempt.task_id


@pytest.fixture
async def stage() -> AsyncIterator[Stage]:
    """A store in memory."""
    store, mint = open_store(":memory:", policy=CFG.hold), HandleMint(os.urandom(32))
    signer = TokenSigner([SigningKey("k", os.urandom(32))])
    bus = LocalBus()
    feed = Feed(store, bus, poll_interval_s=CFG.poll_interval_ms / 1000)
    transactions = Transactions(store=store, bus=bus, feed=feed, signer=signer, mint=mint, gate=RoleVerbGate(), cfg=CFG)
    await store.open()
    yield Stage(
        RunnerParts(
            transactions=transactions,
            layers=LayerRegistry(),
            mint=mint,
            sign=lambda attempt: CapToken(f"token of {attempt.jti}"),
            cfg=CFG,
        )
    )
    await store.close()


async def started(spawner: ScriptedSpawner) -> ScriptedWorker:
    """The first worker, once there is one."""
    async with asyncio.timeout(60):
        await spawner.spawned.wait()
    return spawner.workers[0]


async def test_a_workers_final_settles_the_attempt(stage: Stage) -> None:
    """Spawn, join, settle: the task passes with what the worker returned, and nothing is left to do."""
    spawner = ScriptedSpawner()
    prepared = await stage.prepared(spawner)
    running = asyncio.create_task(stage.runner(prepared).run())
    (await started(spawner)).end(DONE)
    async with asyncio.timeout(60):
        await running

    task, attempt = await stage.rows(prepared)
    assert (task.status, task.last_result) == (Status.PASS, Json.of("done"))
    assert (attempt.phase, attempt.reason) == (Phase.ENDED, Reason.FINAL)


@pytest.mark.parametrize(
    ("error", "reason", "detail"),
    [
        (SpawnRefused("not today"), Reason.REFUSED, "not today"),
        (SpawnFailed("no such program"), Reason.SPAWN_FAILED, "no such program"),
        (LookupError("a bug"), Reason.SPAWN_FAILED, "LookupError: a bug"),
    ],
)
async def test_a_spawn_that_fails_blocks_the_task(stage: Stage, error: Exception, reason: Reason, detail: str) -> None:
    """Whatever the spawner raises names the end."""

    async def raising(job: Job) -> Any:
        raise error

    prepared = await stage.prepared(ScriptedSpawner(spawn=raising))
    async with asyncio.timeout(60):
        await stage.runner(prepared).run()

    task, attempt = await stage.rows(prepared)
    assert (task.status, attempt.phase) == (Status.BLOCKED, Phase.ENDED)
    assert (attempt.reason, attempt.detail) == (reason, detail)


async def test_a_worker_that_ends_without_a_final_has_failed(stage: Stage) -> None:
    """Its exit says why."""
    spawner = ScriptedSpawner()
    prepared = await stage.prepared(spawner)
    running = asyncio.create_task(stage.runner(prepared).run())
    (await started(spawner)).end(Exit(detail="it crashed"))
    async with asyncio.timeout(60):
        await running

    _, attempt = await stage.rows(prepared)
    assert (attempt.reason, attempt.detail) == (Reason.WORKER_FAILED, "it crashed")


@pytest.mark.parametrize("outlives", [False, True])
async def test_a_cancelled_runner_stops_only_workers_of_its_own_process(stage: Stage, outlives: bool) -> None:
    """The attempt stays live: the next server process goes on with it."""
    spawner = ScriptedSpawner(outlives=outlives)
    prepared = await stage.prepared(spawner)
    running = asyncio.create_task(stage.runner(prepared).run())
    worker = await started(spawner)
    async with asyncio.timeout(60):
        await worker.joined.wait()
    running.cancel()
    await asyncio.wait({running})

    assert worker.stopped.is_set() is not outlives
    assert (await stage.rows(prepared))[1].is_live


async def test_the_control_of_a_live_attempt_does_what_it_says(stage: Stage) -> None:
    """Handles, token, record and outputs are the attempt's; a Final is what the worker exits with."""
    prepared = await stage.prepared(ScriptedSpawner())
    control = AttemptControl(stage.parts, prepared.attempt)

    assert await control.mint_handle() != await control.mint_handle()
    assert await control.worker_token() == CapToken(f"token of {prepared.attempt.jti}")
    await control.record_process({"pid": 7})
    await control.output(OutputEvent.progress("half", None))
    with pytest.raises(InvalidRequest):
        await control.output(OutputEvent.final(1, ok=True))

    _, attempt = await stage.rows(prepared)
    assert (attempt.process, attempt.outputs) == (Json.of({"pid": 7}), 1)
    first = await stage.parts.transactions.read(lambda s: OUTPUTS.get(s.db, attempt.task_id, 1, 1))
    assert first is not None
    assert first.type == "progress"


async def test_a_control_is_fenced_off_once_another_process_has_the_attempt(stage: Stage) -> None:
    """Nothing of it is written any more, and a wait for its end returns."""
    prepared = await stage.prepared(ScriptedSpawner())
    control = AttemptControl(stage.parts, prepared.attempt)
    waiting = asyncio.create_task(control.ended())
    await stage.take_over(prepared)

    for call in (control.mint_handle(), control.worker_token(), control.record_process({"pid": 1})):
        with pytest.raises(AttemptSuperseded):
            await call
    assert stage.parts.counts["fenced_writes"] == 3
    async with asyncio.timeout(60):
        await waiting
    assert (await stage.rows(prepared))[1].process is None
