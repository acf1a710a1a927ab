"""Claiming from queues: each attempt one owner, by priority, and fair between agents."""

import asyncio
import os
import time
from collections import Counter
from datetime import timedelta
from typing import Any

import pytest

from app.domain.access import Role
from app.domain.errors import NotStarted, RoleViolation, Unauthenticated
from app.domain.json import Json
from app.domain.tasks import Status, TaskSpec
from app.domain.tokens import Handle
from app.engine.ops import queues
from app.engine.ops.queues import Claim
from tests.support.swarms import Swarm, refused

NOW = timedelta(0)
HOUR = timedelta(hours=1)
KEY = "shk_" + "w" * 40
MANY = int(os.environ.get("SWARMHOLD_TEST_CLAIMS", "10000"))
WORKERS = 50


@pytest.fixture(autouse=True)
async def key(swarm: Swarm) -> None:
    """A key that may claim."""
    await swarm.engine.keys.ensure_root(KEY)


async def queued(swarm: Swarm, agent: str = "coder", *, queue: str = "q", priority: int = 0) -> str:
    """A task whose attempt waits in a queue."""
    task_id = await swarm.task(agent)
    spec: dict[str, Any] = {"kind": "queue", "queue": queue, "priority": priority}
    await swarm.engine.dispatcher.dispatch(swarm.operator, task_id, spec)
    return task_id


async def claim(swarm: Swarm, *agents: str, queue: str = "q", hold: timedelta = NOW) -> Claim | None:
    """The next attempt for a worker."""
    return await swarm.engine.workers.claim(KEY, queue=queue, hold=hold, agents=agents, worker_name="w")


async def served(swarm: Swarm, count: int, *agents: str) -> list[str]:
    """The agents of the next claims."""
    claims = [await claim(swarm, *agents) for _ in range(count)]
    return [found.payload.agent for found in claims if found is not None]


async def test_a_claim_is_all_a_worker_needs(swarm: Swarm) -> None:
    """A claim returns a valid handle, the payload, and the expiry of the lease."""
    task_id = await queued(swarm)
    found = await claim(swarm)
    assert found is not None
    assert (found.payload.task_id, found.payload.attempt, found.payload.prompt) == (task_id, 1, "Do it.")
    assert found.lease_expires_at == swarm.clock() + swarm.engine.cfg.lease_ms
    assert await swarm.engine.workers.payload(Handle(found.handle)) == found.payload
    assert (await swarm.attempt(task_id)).worker_id == "w"
    assert await claim(swarm) is None

    await swarm.engine.workers.submit(Handle(found.handle), Json.of(1), ok=True)

    assert await swarm.status(task_id) is Status.PASS
    assert "worker_claimed" in await swarm.kinds(task_id)


async def test_only_worker_keys_claim(swarm: Swarm) -> None:
    """Unknown keys and keys of other roles are refused."""
    _, text = await swarm.engine.keys.create(KEY, "k", frozenset({Role.OPERATOR}), None)
    await refused(RoleViolation, swarm.engine.workers.claim(text, queue="q", hold=NOW))
    await refused(Unauthenticated, swarm.engine.workers.claim("shk_none", queue="q", hold=NOW))


async def test_an_unclaimed_attempt_is_nobodys(swarm: Swarm) -> None:
    """Even its own token earns NotStarted."""
    task_id = await queued(swarm)
    token = await swarm.engine.credentials.attempt_token(task_id, 1)
    await refused(NotStarted, swarm.engine.workers.payload(token))
    await refused(NotStarted, swarm.engine.workers.submit(token, Json.of(1), ok=True))


async def test_a_parked_claim_is_woken(swarm: Swarm) -> None:
    """By a dispatch into its queue; another queue's is not its affair; the hold ends with nothing."""
    parked = asyncio.ensure_future(claim(swarm, hold=HOUR))
    other = asyncio.ensure_future(claim(swarm, queue="other", hold=timedelta(milliseconds=50)))
    await asyncio.sleep(0)
    task_id = await queued(swarm)
    async with asyncio.timeout(60):
        found = await parked
        assert await other is None
    assert found is not None
    assert found.payload.task_id == task_id


async def test_higher_priority_comes_first(swarm: Swarm) -> None:
    """Also across the agents that a worker takes."""
    tasks = [await queued(swarm, agent, priority=p) for agent, p in (("a", 0), ("b", 5), ("a", -1), ("a", 9))]
    found = [await claim(swarm, "a", "b") for _ in range(4)]
    assert [x.payload.task_id for x in found if x] == [tasks[n] for n in (3, 1, 0, 2)]


async def test_agents_are_filtered(swarm: Swarm) -> None:
    """A worker gets what its agents are asked for."""
    await queued(swarm, "a")
    await queued(swarm, "b")
    assert await claim(swarm, "c") is None
    assert await served(swarm, 3, "b", "c") == ["b"]
    assert await served(swarm, 3) == ["a"]


async def test_what_waits_for_a_senior_is_not_claimed(swarm: Swarm) -> None:
    """A question that an operator asks about a queued attempt takes it out of the queue until the answer."""
    first, second = await queued(swarm), await queued(swarm)
    key = await swarm.engine.query_senior(swarm.operator, first, "Really?")
    found = await claim(swarm)
    assert found is not None
    assert found.payload.task_id == second
    assert await claim(swarm) is None
    parked = asyncio.ensure_future(claim(swarm, hold=HOUR))
    await asyncio.sleep(0)

    await swarm.engine.resume(key, "yes")

    async with asyncio.timeout(60):
        found = await parked
    assert found is not None
    assert [x["answer"] for x in found.payload.answers] == ["yes"]


async def test_a_paused_loop_gives_nothing_out(swarm: Swarm) -> None:
    """A parked claim goes on when it is resumed."""
    await queued(swarm)
    await swarm.engine.switch.pause(swarm.senior)
    assert await claim(swarm) is None
    parked = asyncio.ensure_future(claim(swarm, hold=HOUR))
    await asyncio.sleep(0)
    await swarm.engine.switch.resume(swarm.senior)
    async with asyncio.timeout(60):
        assert await parked is not None


async def test_a_cancelled_attempt_is_not_claimed(swarm: Swarm) -> None:
    """It leaves the queue with its task."""
    task_id = await queued(swarm)
    await swarm.engine.cancel_task(swarm.operator, task_id)
    assert await claim(swarm) is None


# Fairness


async def test_a_flood_keeps_nobody_waiting(swarm: Swarm) -> None:
    """One agent's many attempts let another agent's single one through at once."""
    for _ in range(50):
        await queued(swarm, "flood")
    await queued(swarm, "single")
    assert "single" in await served(swarm, 2)
    await served(swarm, 20)
    await queued(swarm, "late")
    assert "late" in await served(swarm, 2)


async def test_agents_take_turns(swarm: Swarm) -> None:
    """However much each has waiting, of equal priority they are served in rounds."""
    for agent, count in (("a", 9), ("b", 5), ("c", 3)):
        for _ in range(count):
            await queued(swarm, agent)
    order = await served(swarm, 17)
    assert [Counter(order[n : n + 3]) for n in (0, 3, 6)] == [Counter("abc")] * 3
    assert Counter(order[9:13]) == Counter(a=2, b=2)
    assert order[13:] == ["a"] * 4


async def test_an_agent_that_comes_back_at_once_does_not_push_in(swarm: Swarm) -> None:
    """An agent that queues again after each claim gets as many turns as one with a flood of attempts."""
    for _ in range(20):
        await queued(swarm, "flood")
    await queued(swarm, "eager")
    order = []
    for _ in range(20):
        [agent] = await served(swarm, 1)
        order.append(agent)
        if agent == "eager":
            await queued(swarm, "eager")
    assert abs(Counter(order)["eager"] - 10) <= 1


async def test_an_agent_that_nobody_serves_costs_the_others_nothing(swarm: Swarm) -> None:
    """What waits for workers that never come does not make newcomers go before everybody."""
    await queued(swarm, "unserved")
    for _ in range(20):
        await queued(swarm, "flood")
    await served(swarm, 10, "flood", "eager")
    order = []
    await queued(swarm, "eager")
    for _ in range(10):
        [agent] = await served(swarm, 1, "flood", "eager")
        order.append(agent)
        if agent == "eager":
            await queued(swarm, "eager")
    assert abs(Counter(order)["eager"] - 5) <= 1


async def test_one_agents_attempts_come_in_their_order(swarm: Swarm) -> None:
    """First queued, first claimed."""
    tasks = [await queued(swarm) for _ in range(8)]
    found = [await claim(swarm) for _ in range(8)]
    assert [x.payload.task_id for x in found if x] == tasks


async def test_claims_go_by_index(swarm: Swarm) -> None:
    """Neither database sorts or scans the queue to find the next attempt, for everybody or for one agent."""
    db_kind = "postgresql" if swarm.plan.store_url.startswith("postgres") else "sqlite"
    for _ in range(30):
        await queued(swarm)

    def plan(state: Any, statement: Any, args: dict[str, Any]) -> str:
        compiled = statement.compiled(db_kind)
        values = compiled.args(args)
        if db_kind == "sqlite":
            return repr(state.db.query("EXPLAIN QUERY PLAN " + compiled.sql, values))
        sql = compiled.sql
        for value in values:
            sql = sql.replace("%s", repr(value), 1) if not isinstance(value, int) else sql.replace("%s", str(value), 1)
        state.db.query("SELECT set_config('enable_seqscan', 'off', true), set_config('enable_sort', 'off', true)", ())
        return repr(state.db.query("EXPLAIN " + sql.split(" FOR UPDATE")[0], ()))

    for statement, args, index in (
        (queues._NEXT, {"of_namespace": 1, "of_queue": "q"}, "attempts_queued"),
        (queues._NEXT_FOR, {"of_namespace": 1, "of_queue": "q", "of_agent": "coder"}, "attempts_queued_agent"),
    ):
        shown = await swarm.engine.with_state("plan", lambda s, x=(statement, args): plan(s, *x))
        assert index in shown, shown
        assert "TEMP B-TREE" not in shown
        assert "Sort" not in shown, shown


# Races


@pytest.mark.slow
@pytest.mark.timeout(600)
async def test_racing_workers_get_each_attempt_once(swarm: Swarm) -> None:
    """Fifty workers over ten thousand attempts, on either database: nobody's work is claimed twice or left."""
    engine = swarm.engine
    spec = TaskSpec(agent="coder", initial_directive="Do it.")

    async def fill(number: int) -> None:
        for _ in range(number):
            task_id = await engine.start_task(swarm.operator, spec)
            await engine.dispatcher.dispatch(swarm.operator, task_id, {"kind": "queue", "queue": "q"})

    began = time.monotonic()
    await asyncio.gather(*(fill(MANY // WORKERS) for _ in range(WORKERS)))

    async def work() -> list[str]:
        got = []
        while found := await claim(swarm):
            got.append(found.payload.task_id)
        return got

    claimed = [task_id for got in await asyncio.gather(*(work() for _ in range(WORKERS))) for task_id in got]

    print(f"{MANY} attempts queued and claimed in {time.monotonic() - began:.1f} s")  # noqa: T201 - told with -s
    assert len(claimed) == len(set(claimed)) == MANY // WORKERS * WORKERS
    stats = await engine.reports.stats(swarm.operator)
    assert stats["queues"] == {}
    assert stats["attempts"] == [{"spawner": "queue", "phase": "running", "count": len(claimed)}]


async def test_claims_race_dispatches_cancels_and_questions(swarm: Swarm) -> None:
    """Parked workers, attempts that come and go: each that was claimed had one owner, and each open one is claimed."""
    engine, got = swarm.engine, []
    done = asyncio.Event()

    async def work() -> None:
        while not done.is_set():
            found = await claim(swarm, hold=timedelta(milliseconds=100))
            if found is not None:
                got.append(found)
                await asyncio.gather(
                    engine.workers.submit(Handle(found.handle), Json.of(1), ok=True), return_exceptions=True
                )

    workers = [asyncio.ensure_future(work()) for _ in range(8)]
    tasks = []
    for n in range(60):
        task_id = await queued(swarm, "ab"[n % 2])
        tasks.append(task_id)
        if n % 3 == 0:
            await asyncio.gather(engine.cancel_task(swarm.operator, task_id), return_exceptions=True)
        elif n % 3 == 1:
            asked = await asyncio.gather(engine.query_senior(swarm.operator, task_id, "?"), return_exceptions=True)
            # Refused, or withdrawn before it is answered, when a worker was done with the task before.
            await asyncio.gather(
                *(engine.resume(key, 1) for key in asked if isinstance(key, str)), return_exceptions=True
            )
    async with asyncio.timeout(60):
        for task_id in tasks:
            await engine.poll_task(swarm.operator, task_id, HOUR)
    done.set()
    await asyncio.gather(*workers)

    owners = Counter(x.payload.task_id for x in got)
    assert max(owners.values()) == 1
    assert {await swarm.status(task_id) for task_id in tasks} == {Status.PASS, Status.CANCELLED}
