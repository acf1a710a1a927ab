"""PostgreSQL fails in the COMMIT of an attempt that needs a driver: it is committed without an acknowledgement."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Iterator

import psycopg
import pytest

from app.domain.errors import StoreUnavailable
from app.domain.json import Json
from app.domain.outputs import Final
from app.domain.tasks import RetryPolicy, Status
from app.engine.ops.idempotency import Idempotency
from app.spawning.ports import Exit, Job
from tests.support.clocks import HandClock
from tests.support.cutting import CuttingProxy, cutting_proxy
from tests.support.scripted import IN_PROCESS, ScriptedFunction, ScriptedSpawner
from tests.support.swarms import Plan, Swarm
from tests.support.waiting import eventually


@pytest.fixture
def proxied(postgres_url: str) -> Iterator[tuple[CuttingProxy, str]]:
    """A network that can be cut, and the database behind it."""
    with cutting_proxy(postgres_url) as pair:
        yield pair


@pytest.fixture
async def cut(
    proxied: tuple[CuttingProxy, str], clock: HandClock, function: ScriptedFunction
) -> AsyncIterator[tuple[Swarm, CuttingProxy]]:
    """A running engine behind that network."""
    plan = Plan(store_url=proxied[1], clock=clock)
    plan.functions.register("scripted", function)
    async with plan.engine() as engine:
        yield await Swarm.over(engine, plan), proxied[0]


async def _broken(proxy: CuttingProxy, call: Awaitable[object]) -> None:
    """Commit the call but break its connection before the acknowledgement; reads are not affected."""
    proxy.cut_at(b"COMMIT", after=True, behind=b"BEGIN; EXECUTE")
    with pytest.raises(StoreUnavailable) as failure:
        await call
    assert failure.value.unsure


async def _passed(swarm: Swarm, task_id: str) -> None:
    """Return when the task has passed."""

    async def passed() -> bool:
        return await swarm.status(task_id) is Status.PASS

    await eventually(passed, awaited="the task to pass")


async def test_a_dispatch_that_was_kept_is_walked(cut: tuple[Swarm, CuttingProxy], function: ScriptedFunction) -> None:
    """A repeat returns the attempt, which is driven once, although the first call failed as `unsure`."""
    swarm, proxy = cut
    task = await swarm.task()
    key = Idempotency("k", "request")
    await _broken(proxy, swarm.engine.dispatcher.dispatch(swarm.operator, task, IN_PROCESS, idempotency=key))
    dispatched, _ = await swarm.engine.dispatcher.dispatch(swarm.operator, task, IN_PROCESS, idempotency=key)
    assert dispatched.attempt == 1
    function.give("done")
    await _passed(swarm, task)
    assert len(function.calls) == 1


async def test_a_planned_retry_that_was_kept_is_walked(
    cut: tuple[Swarm, CuttingProxy], function: ScriptedFunction
) -> None:
    """Nobody but the server itself knows of a retry, so that nobody else would repeat it."""
    swarm, proxy = cut
    task = await swarm.task(retry=RetryPolicy(max_attempts=2))
    function.give(RuntimeError("first"))
    await swarm.engine.dispatcher.dispatch(swarm.operator, task, IN_PROCESS)

    async def planned() -> bool:
        return (await swarm.row(task)).retry_at is not None

    await eventually(planned)
    swarm.clock.advance(3600)
    await _broken(proxy, swarm.engine.dispatcher.redispatch(task))
    function.give("done")
    await _passed(swarm, task)
    assert len(function.calls) == 2


async def test_a_worker_that_is_being_started_waits_for_postgres(
    cut: tuple[Swarm, CuttingProxy], postgres_url: str
) -> None:
    """PostgreSQL goes away between the spawn and what the spawner asks of the engine: nothing fails by it."""
    swarm, proxy = cut
    away, asking = asyncio.Event(), asyncio.Event()

    async def spawn(_: Job) -> None:
        await away.wait()
        asking.set()
        await spawner.controls[-1].mint_handle()

    spawner = ScriptedSpawner(spawn=spawn)
    task = await swarm.task()
    dispatching = asyncio.ensure_future(swarm.engine.dispatch_attempt_with(swarm.operator, task, spawner))
    await eventually(lambda: spawner.controls)
    proxy.admitting = False
    with psycopg.connect(postgres_url, autocommit=True) as operator:
        operator.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
            "WHERE datname = current_database() AND pid <> pg_backend_pid()"
        )

    async def refuses() -> bool:
        try:
            await swarm.engine.check()
        except StoreUnavailable:
            return True
        return False

    await eventually(refuses)
    away.set()
    await asking.wait()
    await asyncio.sleep(0)
    proxy.admitting = True
    async with asyncio.timeout(60):
        await spawner.spawned.wait()
    spawner.workers[-1].end(Exit(final=Final(value=Json.of("done"), ok=True)))

    async def passed() -> bool:
        return await swarm.status(task) is Status.PASS

    await eventually(passed)
    # Who waited meanwhile may have been told of the outage.
    await asyncio.gather(dispatching, return_exceptions=True)
