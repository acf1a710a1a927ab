"""PostgreSQL breaks in the COMMIT of an attempt that the server has to walk: it was kept, and nobody was told."""

from collections.abc import AsyncIterator, Awaitable, Iterator

import pytest

from app.domain.errors import StoreUnavailable
from app.domain.tasks import RetryPolicy, Status
from app.engine.ops.idempotency import Idempotency
from tests.support.clocks import HandClock
from tests.support.cutting import CuttingProxy, cutting_proxy
from tests.support.scripted import IN_PROCESS, ScriptedFunction
from tests.support.swarms import Plan, Swarm
from tests.support.waiting import eventually


@pytest.fixture
def proxied(migrated_postgres_url: str) -> Iterator[tuple[CuttingProxy, str]]:
    """A network that can be cut, and the database behind it."""
    with cutting_proxy(migrated_postgres_url) as pair:
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
    """Let the call commit, and nobody hear of it."""
    proxy.cut_at(b"COMMIT", after=True)
    with pytest.raises(StoreUnavailable) as failure:
        await call
    assert failure.value.unsure


async def test_a_dispatch_that_was_kept_is_walked(cut: tuple[Swarm, CuttingProxy], function: ScriptedFunction) -> None:
    """The repeat is given the attempt, which is walked once, though the first caller was told that nobody knows."""
    swarm, proxy = cut
    task = await swarm.task()
    key = Idempotency("k", "request")
    await _broken(proxy, swarm.engine.dispatch(swarm.operator, task, IN_PROCESS, idempotency=key))
    dispatched, _ = await swarm.engine.dispatch(swarm.operator, task, IN_PROCESS, idempotency=key)
    assert dispatched.attempt == 1
    function.give("done")

    async def passed() -> bool:
        return await swarm.status(task) is Status.PASS

    await eventually(passed, within=20)
    assert len(function.calls) == 1


async def test_a_planned_retry_that_was_kept_is_walked(
    cut: tuple[Swarm, CuttingProxy], function: ScriptedFunction
) -> None:
    """Nobody but the server itself knows of a retry, so that nobody else would repeat it."""
    swarm, proxy = cut
    task = await swarm.task(retry=RetryPolicy(max_attempts=2))
    function.give(RuntimeError("first"))
    await swarm.engine.dispatch(swarm.operator, task, IN_PROCESS)

    async def planned() -> bool:
        return (await swarm.row(task)).retry_at is not None

    await eventually(planned)
    swarm.clock.advance(3600)
    await _broken(proxy, swarm.engine.redispatch(task))
    function.give("done")

    async def passed() -> bool:
        return await swarm.status(task) is Status.PASS

    await eventually(passed, within=20)
    assert len(function.calls) == 2
