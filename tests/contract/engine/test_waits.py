"""No wake-up is lost, however a wait and what it waits for meet in time."""

import asyncio
import random
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from app.domain.attempts import Outcome
from app.domain.errors import QuestionClosed
from app.domain.json import Json
from app.domain.tasks import Status
from tests.support.buses import LossyBus
from tests.support.swarms import EXTERNAL, Plan, Swarm, Work

HOUR = timedelta(hours=1)
DEADLINE_S = 60
AT_ONCE = 20


def rounds(swarm: Swarm, count: int) -> int:
    """How many races: PostgreSQL has its own share of time."""
    return count // 10 if swarm.plan.store_url.startswith("postgres") else count


async def after(turns: int, call: Callable[[], Awaitable[Any]]) -> Any:
    """The call, so many turns of the loop from now."""
    for _ in range(turns):
        await asyncio.sleep(0)
    return await call()


async def raced(chance: random.Random, wait: Callable[[], Awaitable[Any]], act: Callable[[], Awaitable[Any]]) -> Any:
    """What the wait came to, when both began at times of their own."""
    found, _ = await asyncio.gather(after(chance.randrange(25), wait), after(chance.randrange(25), act))
    return found


async def submit(swarm: Swarm, work: Work) -> Status:
    """Submit against poll."""
    return await raced_poll(swarm, work, lambda: swarm.submit(work))


async def raced_poll(swarm: Swarm, work: Work, act: Callable[[], Awaitable[Any]]) -> Status:
    """Whatever settles a task against a poll of it."""
    state = await raced(
        random.Random(work.task_id), lambda: swarm.engine.poll_task(swarm.operator, work.task_id, HOUR), act
    )
    return state.status


async def cancel(swarm: Swarm, work: Work) -> Status:
    """Cancel against poll."""
    return await raced_poll(swarm, work, lambda: swarm.engine.cancel_task(swarm.operator, work.task_id))


async def suspend(swarm: Swarm, work: Work) -> Status:
    """Ask against poll."""
    return await raced_poll(swarm, work, lambda: swarm.engine.query_senior(work.handle, work.task_id, "?"))


async def answer(swarm: Swarm, work: Work) -> int:
    """Answer against await_resume."""
    key = await swarm.engine.query_senior(work.handle, work.task_id, "?")
    chance = random.Random(key)
    return await raced(chance, lambda: swarm.engine.await_resume(key, HOUR), lambda: swarm.engine.resume(key, 7))


async def withdraw(swarm: Swarm, work: Work) -> type[BaseException] | None:
    """Cancel against await_resume."""
    key = await swarm.engine.query_senior(work.handle, work.task_id, "?")
    chance = random.Random(key)
    try:
        await raced(
            chance,
            lambda: swarm.engine.await_resume(key, HOUR),
            lambda: swarm.engine.cancel_task(swarm.operator, work.task_id),
        )
    except QuestionClosed as closed:
        return type(closed)
    return None


async def join(swarm: Swarm, work: Work) -> Outcome:
    """Submit against the dispatcher's own wait."""
    found = await raced(
        random.Random(work.task_id),
        lambda: swarm.engine.dispatcher.join(work.task_id, work.attempt, None),
        lambda: swarm.submit(work),
    )
    return found.outcome


Race = Callable[[Swarm, Work], Awaitable[Any]]

RACES: dict[Race, Any] = {
    submit: Status.PASS,
    cancel: Status.CANCELLED,
    suspend: Status.SUSPENDED,
    answer: 7,
    withdraw: QuestionClosed,
    join: Outcome.PASS,
}


@pytest.fixture
async def attentive(plan: Plan) -> AsyncIterator[Swarm]:
    """An engine that never reads again without a hint: a lost wake-up would be lost for good."""
    plan = replace(plan, cfg=replace(plan.cfg, poll_interval_ms=3_600_000))
    async with plan.engine() as engine:
        yield await Swarm.over(engine, plan)


@pytest.mark.slow
@pytest.mark.timeout(1200)
@pytest.mark.parametrize("race", RACES, ids=lambda race: race.__name__)
async def test_a_parked_wait_is_woken_in_every_race(
    attentive: Swarm, race: Callable[[Swarm, Work], Awaitable[Any]]
) -> None:
    """Thousands of times, many at once, each side beginning when it happens to."""

    async def once() -> Any:
        return await race(attentive, await attentive.external())

    for _ in range(rounds(attentive, 1000) // AT_ONCE):
        async with asyncio.timeout(DEADLINE_S):
            found = await asyncio.gather(*(once() for _ in range(AT_ONCE)))
        assert set(found) == {RACES[race]}


@pytest.fixture
async def deaf(plan: Plan) -> AsyncIterator[Swarm]:
    """An engine whose bus loses every hint, so that only the slow re-read is left."""
    plan = replace(plan, cfg=replace(plan.cfg, poll_interval_ms=20), bus=LossyBus)
    async with plan.engine() as engine:
        yield await Swarm.over(engine, plan)


@pytest.mark.parametrize("race", RACES, ids=lambda race: race.__name__)
async def test_lost_hints_cost_a_delay_only(deaf: Swarm, race: Race) -> None:
    """With every hint lost each wait still ends by reading again."""

    async def once() -> Any:
        return await race(deaf, await deaf.external())

    async with asyncio.timeout(DEADLINE_S):
        assert set(await asyncio.gather(*(once() for _ in range(10)))) == {RACES[race]}


async def test_a_deaf_engine_drives_claims_and_follows(deaf: Swarm) -> None:
    """Drivers, queue claims, the feed and a paused loop find out by themselves too."""
    engine, key = deaf.engine, "shk_" + "w" * 40
    await engine.keys.ensure_root(key)
    async with asyncio.timeout(DEADLINE_S), engine.subscribe(after=0, kinds=frozenset({"task_pass"})) as stream:
        claiming = asyncio.ensure_future(engine.workers.claim(key, queue="q", hold=HOUR))
        await asyncio.sleep(0)
        task_id = await deaf.task()
        await engine.switch.pause(deaf.senior)
        spec: dict[str, Any] = {"kind": "queue", "queue": "q"}
        dispatching = asyncio.ensure_future(engine.dispatcher.dispatch(deaf.operator, task_id, spec, wait=HOUR))
        await asyncio.sleep(0)
        await engine.switch.resume(deaf.senior)
        claim = await claiming
        assert claim is not None
        await engine.submit_worker_result_trusted(task_id, 1, "done", True)
        assert (await dispatching)[1] is not None
        identity: dict[str, Any] = {"kind": "in_process", "function": "identity"}
        _, outcome = await engine.dispatcher.dispatch(deaf.operator, await deaf.task(), identity, wait=HOUR)
        assert outcome is not None
        assert outcome.value == Json.of("Do it.")
        assert {(await anext(stream)).cursor for _ in range(2)}


async def test_thousands_wait_at_once(attentive: Swarm) -> None:
    """A thousand parked polls of one task are all woken by its end, and leave nothing behind."""
    swarm = attentive
    work = await swarm.external()
    parked = [asyncio.ensure_future(swarm.engine.poll_task(swarm.operator, work.task_id, HOUR)) for _ in range(1000)]
    await asyncio.sleep(0.0)
    cancelled, parked = parked[:100], parked[100:]
    for waiting in cancelled:
        waiting.cancel()
    await swarm.submit(work)

    async with asyncio.timeout(DEADLINE_S):
        found = await asyncio.gather(*parked)
    assert {state.status for state in found} == {Status.PASS}
    await asyncio.gather(*cancelled, return_exceptions=True)
    topics = set(swarm.engine.parts.bus._subscriptions)  # pyright: ignore[reportAttributeAccessIssue] - nothing counts them
    assert not {topic for topic in topics if topic.startswith(("task:", "revoked:"))}


async def test_a_wait_begun_before_the_attempt_ends_with_the_next_one(swarm: Swarm) -> None:
    """A poll of a blocked task returns at once; one of its next attempt waits for that."""
    work = await swarm.external()
    await swarm.submit(work, ok=False)
    assert (await swarm.engine.poll_task(swarm.operator, work.task_id, HOUR)).status is Status.BLOCKED
    await swarm.engine.dispatcher.dispatch(swarm.operator, work.task_id, EXTERNAL)
    waiting = asyncio.ensure_future(swarm.engine.poll_task(swarm.operator, work.task_id, HOUR))
    await asyncio.sleep(0)
    await swarm.engine.tasks.mark(swarm.operator, work.task_id, ok=True)
    async with asyncio.timeout(DEADLINE_S):
        assert (await waiting).status is Status.PASS
