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
from app.domain.tokens import ApiKey, Handle
from app.engine.claiming import TOGETHER, ClaimFn, WaitingClaims
from app.engine.ops import queues
from app.engine.ops.queries import queue_topic
from app.engine.ops.queues import Claim, Line
from app.state.state import State
from tests.support.swarms import Swarm, refused
from tests.support.waiting import eventually

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
        (queues._NEXT, {"of_namespace": 1, "of_queue": "q", "most": 16}, "attempts_queued"),
        (
            queues._NEXT_FOR,
            {"of_namespace": 1, "of_queue": "q", "of_agent": "coder", "most": 16},
            "attempts_queued_agent",
        ),
    ):
        shown = await swarm.engine.with_state("plan", lambda s, x=(statement, args): plan(s, *x))
        assert index in shown, shown
        assert "TEMP B-TREE" not in shown
        assert "Sort" not in shown, shown


# Claims that wait share a transaction


def taking(swarm: Swarm, text: str, states: list[State], *, known: ApiKey | None = None) -> ClaimFn:
    """What claims for a worker with this API key; `known` is the key as another transaction has read it."""
    engine, digest = swarm.engine, swarm.engine.keys.digest(text)

    def take(state: State, line: Line) -> Claim | None:
        states.append(state)
        key = known or line.key(digest)
        return queues.claim(state, engine.cfg, engine.parts.mint, key, line, namespace=1, worker=f"w{len(states)}")

    return take


async def worker_key(swarm: Swarm, name: str) -> tuple[ApiKey, str]:
    """Another key that may claim, and its text."""
    return await swarm.engine.keys.create(KEY, name, frozenset({Role.WORKER}), None)


async def test_claims_that_look_at_once_share_a_transaction(swarm: Swarm) -> None:
    """Who has waited longest gets what comes first; one for whom nothing is left gets nothing, and holds nothing."""
    waiting, states = WaitingClaims(swarm.engine.transactions), list[State]()
    tasks = [await queued(swarm, priority=p) for p in (1, 3, 2)]
    looks = [waiting.look("q", (), taking(swarm, KEY, states), since=since) for since in (4, 3, 1, 2)]
    found = await asyncio.gather(*looks)
    assert len(states) == 4
    assert len(set(map(id, states))) == 1
    assert [x and x.payload.task_id for x in found] == [None, tasks[0], tasks[1], tasks[2]]
    assert len({(await swarm.attempt(task_id)).worker_id for task_id in tasks}) == 3
    await waiting.finish()


async def test_the_refusal_of_one_claim_leaves_its_attempt_to_the_next(swarm: Swarm) -> None:
    """A key that is gone, or that another transaction revokes meanwhile, holds nothing and harms nobody beside it."""
    engine, states = swarm.engine, list[State]()
    waiting = WaitingClaims(engine.transactions)
    (gone, gone_text), (_, good) = [await worker_key(swarm, name) for name in ("gone", "good")]
    task_id = await queued(swarm)
    await engine.keys.revoke(KEY, gone.id)
    refusals = [taking(swarm, gone_text, states)]
    if swarm.plan.store_url.startswith("postgres"):  # SQLite has one transaction at a time
        refusals.append(taking(swarm, gone_text, states, known=gone))
    looks = [waiting.look("q", (), take, since=n) for n, take in enumerate([*refusals, taking(swarm, good, states)])]
    *refused_, found = await asyncio.gather(*looks, return_exceptions=True)
    assert [type(error) for error in refused_] == [Unauthenticated] * len(refusals)
    assert isinstance(found, Claim)
    assert found.payload.task_id == task_id
    assert len(set(map(id, states))) == 1
    assert (await swarm.kinds(task_id)).count("worker_claimed") == 1


async def test_a_claim_that_fails_harms_nobody_beside_it(swarm: Swarm) -> None:
    """Whatever it had written is rolled back with what the others claimed; then each claims alone."""
    waiting, states = WaitingClaims(swarm.engine.transactions), list[State]()
    task_id, take = await queued(swarm), taking(swarm, KEY, states)

    def fail(state: State, line: Line) -> Claim | None:
        take(state, line)
        raise ZeroDivisionError

    broken, found = await asyncio.gather(
        waiting.look("q", (), fail, since=1), waiting.look("q", (), take, since=2), return_exceptions=True
    )
    assert isinstance(broken, ZeroDivisionError)
    assert isinstance(found, Claim)
    assert found.payload.task_id == task_id
    assert (await swarm.kinds(task_id)).count("worker_claimed") == 1


async def test_a_caller_that_left_before_the_shared_look_claims_nothing(swarm: Swarm) -> None:
    """What it would have got is the next one's, at once."""
    waiting, states = WaitingClaims(swarm.engine.transactions), list[State]()
    task_id = await queued(swarm)
    left, stayed = (
        asyncio.ensure_future(waiting.look("q", (), taking(swarm, KEY, states), since=since)) for since in (1, 2)
    )
    await asyncio.sleep(0)
    left.cancel()
    found = await stayed
    assert found is not None
    assert found.payload.task_id == task_id
    assert len(states) == 1


async def test_what_was_locked_and_not_claimed_wakes_those_who_passed_over_it(swarm: Swarm) -> None:
    """A claim for two agents locks the next attempt of each: whoever looked meanwhile has to look again."""
    await queued(swarm, "a")
    await queued(swarm, "b")
    subscription = swarm.engine.parts.bus.subscribe(queue_topic(1, "q"))
    assert await claim(swarm, "a", "b") is not None
    assert await subscription.wait(0)
    subscription.clear()
    assert await claim(swarm, "a", "b") is not None
    assert not await subscription.wait(0)
    subscription.close()


async def test_every_parked_worker_gets_one_attempt_of_a_burst(swarm: Swarm) -> None:
    """No wake-up is missed, with more workers than share a transaction, of two keys and with several filters."""
    count = 2 * TOGETHER + 3
    _, other = await worker_key(swarm, "other")
    parked = [
        asyncio.ensure_future(
            swarm.engine.workers.claim((KEY, other)[n % 2], queue="q", hold=HOUR, agents=((), ("a", "b"))[n % 3 == 0])
        )
        for n in range(count)
    ]
    bus: Any = swarm.engine.parts.bus
    await eventually(lambda: len(bus._subscriptions.get(queue_topic(1, "q"), ())) == count)
    tasks = await asyncio.gather(*(queued(swarm, "ab"[n % 2]) for n in range(count)))
    async with asyncio.timeout(60):
        found = await asyncio.gather(*parked)
    assert sorted(x.payload.task_id for x in found if x) == sorted(tasks)


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
