"""Deadlines: leases, timeouts, retries; and clocks that are stopped during suspension."""

import asyncio
import threading
from collections import Counter
from collections.abc import Awaitable, Callable
from datetime import timedelta
from functools import partial
from typing import Any

import pytest

from app.domain.access import ENGINE
from app.domain.attempts import DispatchOutcome, Outcome, Phase, Reason
from app.domain.clock import system_clock
from app.domain.errors import AttemptSuperseded, Cancelled, PayloadTooLarge, TaskNotFound
from app.domain.json import Json
from app.domain.outputs import OutputEvent
from app.domain.questions import Ask, OnDeadline
from app.domain.tasks import RetryPolicy, Status
from app.domain.tokens import Handle
from app.engine import timers
from app.engine.engine import Engine
from app.engine.ops import attempts, settling
from app.engine.ops.queries import lock_task
from app.spawning.ports import Draft, Layer, Lookup
from app.state.state import State
from tests.support.scripted import IN_PROCESS, ScriptedFunction
from tests.support.swarms import EXTERNAL, Plan, Swarm, Work, refused, values
from tests.support.waiting import eventually

HOUR = timedelta(hours=1)
LEASE = timedelta(seconds=10)
ALL = ("blocked", "failed", "timeout", "lost")
IDENTITY: dict[str, Any] = {"kind": "in_process", "function": "identity"}
QUEUE: dict[str, Any] = {"kind": "queue", "queue": "q"}
KEY = "shk_" + "w" * 40


Calling = Callable[[Swarm, Work, str], Awaitable[None]]


def policy(**options: Any) -> RetryPolicy:
    """A policy without chance in it."""
    return RetryPolicy(**({"max_attempts": 3, "backoff": 1.0, "jitter": 0.0, "on": ALL} | options))


async def claimed(swarm: Swarm) -> Handle:
    """The next attempt of the queue, claimed by a worker."""
    await swarm.engine.keys.ensure_root(KEY)
    claim = await swarm.engine.workers.claim(KEY, queue="q", hold=timedelta(0))
    assert claim is not None
    return Handle(claim.handle)


# Endings by time


async def test_a_silent_worker_is_lost(swarm: Swarm) -> None:
    """Past its lease, not before; the task is blocked with the reason, and the feed says so."""
    work = await swarm.external(lease=LEASE)
    await swarm.pass_time(9.999)
    assert (await swarm.attempt(work.task_id)).is_live

    await swarm.pass_time(0.001)

    attempt, row = await swarm.attempt(work.task_id), await swarm.row(work.task_id)
    assert (attempt.outcome, attempt.reason, row.status) == (Outcome.BLOCKED, Reason.LOST, Status.BLOCKED)
    assert row.last_result == Json.of({"reason": "lost", "detail": "its worker sent no heartbeat within its lease"})
    assert "lease_lost" in await swarm.kinds(work.task_id)


async def test_an_attempt_times_out(swarm: Swarm) -> None:
    """The timeout ends an attempt in spite of heartbeats, and the dispatcher gets that outcome."""
    task_id = await swarm.task(attempt_timeout_ms=5000)
    waiting = asyncio.ensure_future(swarm.engine.dispatcher.dispatch(swarm.operator, task_id, EXTERNAL, wait=HOUR))

    async def is_running() -> bool:
        return await swarm.status(task_id) is Status.RUNNING

    await eventually(is_running)
    await swarm.pass_time(5)

    _, outcome = await waiting
    assert outcome is not None
    assert (outcome.outcome, outcome.reason) == (Outcome.TIMEOUT, Reason.TIMEOUT)
    assert await swarm.status(task_id) is Status.BLOCKED
    assert "attempt_timed_out" in await swarm.kinds(task_id)


async def test_a_queued_attempt_waits_without_a_clock(swarm: Swarm) -> None:
    """Neither lease nor timeout run before somebody claims it; then both do."""
    task_id = await swarm.task(attempt_timeout_ms=600_000)
    await swarm.engine.dispatcher.dispatch(swarm.operator, task_id, QUEUE)
    await swarm.pass_time(30 * 86400)
    await claimed(swarm)
    attempt = await swarm.attempt(task_id)
    assert attempt.lease_expires_at == swarm.clock() + swarm.engine.cfg.lease_ms
    assert attempt.timeout_at == swarm.clock() + 600_000

    await swarm.pass_time(swarm.engine.cfg.lease_ms / 1000)

    assert (await swarm.attempt(task_id)).reason is Reason.LOST


async def test_an_unused_handle_expires(swarm: Swarm) -> None:
    """An external attempt without a lease does not stay live for ever."""
    work = await swarm.external()
    await swarm.pass_time(swarm.engine.cfg.handle_life_ms / 1000)
    row = await swarm.row(work.task_id)
    assert row.last_result == Json.of({"reason": "lost", "detail": "its handle expired unused"})


async def test_clocks_stand_still_while_suspended(swarm: Swarm) -> None:
    """Lease, timeout and handle keep what was left of them, however long the senior thinks."""
    engine = swarm.engine
    task_id = await swarm.task(attempt_timeout_ms=30_000)
    work = await swarm.external(task_id, lease=LEASE)
    swarm.clock.advance(4)
    key = await engine.query_senior(work.handle, task_id, "?")
    await swarm.pass_time(40 * 86400)
    assert (await swarm.attempt(task_id)).is_live
    assert not (await engine.workers.heartbeat(work.handle)).cancelled
    await engine.workers.payload(work.handle)

    await engine.resume(key, "yes")

    await swarm.pass_time(5.999)
    assert (await swarm.attempt(task_id)).is_live
    await engine.workers.heartbeat(work.handle)
    await swarm.pass_time(9.999)
    await engine.workers.heartbeat(work.handle)
    await swarm.pass_time(9.999)
    assert (await swarm.attempt(task_id)).is_live
    await engine.workers.heartbeat(work.handle)
    await swarm.pass_time(0.003)
    assert (await swarm.attempt(task_id)).reason is Reason.TIMEOUT


async def test_a_worker_that_asks_has_its_whole_lease_left(swarm: Swarm) -> None:
    """Asking is a heartbeat, however late in the lease it comes."""
    work = await swarm.external(lease=LEASE)
    await swarm.pass_time(LEASE.total_seconds() - 0.5)
    key = await swarm.engine.query_senior(work.handle, work.task_id, "?")
    await swarm.pass_time(86400)
    await swarm.engine.resume(key, "yes")
    await swarm.pass_time(LEASE.total_seconds() - 0.5)
    assert (await swarm.attempt(work.task_id)).is_live
    await swarm.pass_time(1)
    assert (await swarm.attempt(work.task_id)).reason is Reason.LOST


async def test_heartbeats_count_while_others_have_asked(swarm: Swarm) -> None:
    """A worker that is suspended by an operator's question late in its lease, and goes on sending heartbeats, lives."""
    work = await swarm.external(lease=LEASE)
    await swarm.pass_time(LEASE.total_seconds() - 0.5)
    key = await swarm.engine.query_senior(swarm.operator, work.task_id, "?")
    await swarm.pass_time(86400)
    pulse = await swarm.engine.workers.heartbeat(work.handle)
    assert pulse.expires_at == swarm.clock() + LEASE.total_seconds() * 1000
    await swarm.engine.resume(key, "yes")
    await swarm.pass_time(LEASE.total_seconds() - 0.5)
    assert (await swarm.attempt(work.task_id)).is_live


async def poll_own(swarm: Swarm, work: Work, child: str) -> None:
    await swarm.engine.tasks.watch(work.handle, work.task_id, timedelta(0))


async def read_child(swarm: Swarm, work: Work, child: str) -> None:
    await swarm.engine.read_task_state(work.handle, child)


async def start_child(swarm: Swarm, work: Work, child: str) -> None:
    await swarm.child(work)


async def dispatch_child(swarm: Swarm, work: Work, child: str) -> None:
    await swarm.engine.dispatcher.dispatch(work.handle, child, EXTERNAL)


async def cancel_child(swarm: Swarm, work: Work, child: str) -> None:
    await swarm.engine.cancel_task(work.handle, child)


async def fetch_data(swarm: Swarm, work: Work, child: str) -> None:
    await swarm.engine.set_resource("k", 1)
    await swarm.engine.fetch_data(await swarm.worker_token(work), "k")


async def fetch_prompt(swarm: Swarm, work: Work, child: str) -> None:
    await swarm.engine.workers.payload(work.handle)


async def emit_output(swarm: Swarm, work: Work, child: str) -> None:
    await swarm.engine.workers.emit(work.handle, OutputEvent.progress("half"))


TRAFFIC = [poll_own, read_child, start_child, dispatch_child, cancel_child, fetch_data, fetch_prompt, emit_output]


@pytest.mark.parametrize("call", TRAFFIC, ids=lambda call: call.__name__)
async def test_whatever_a_worker_does_is_a_sign_of_life(swarm: Swarm, call: Calling) -> None:
    """Every successful request of a worker is a heartbeat and renews its lease."""
    work = await swarm.external(lease=LEASE)
    child = await swarm.child(work)
    swarm.clock.advance(9)
    await call(swarm, work, child)
    await swarm.pass_time(9.999)
    assert (await swarm.attempt(work.task_id)).is_live

    await swarm.pass_time(0.001)
    assert (await swarm.attempt(work.task_id)).reason is Reason.LOST


async def test_a_refused_call_keeps_nobody_alive(swarm: Swarm) -> None:
    """Nor does one of a worker that is waited for no more."""
    work = await swarm.external(lease=LEASE)
    swarm.clock.advance(9)
    await refused(TaskNotFound, swarm.engine.read_task_state(work.handle, "T-none"))
    await swarm.engine.cancel_task(work.handle, work.task_id)
    before = await swarm.dump()
    await refused(Cancelled, swarm.engine.read_task_state(work.handle, work.task_id))
    assert await swarm.dump() == before


async def test_a_clock_set_back_harms_nothing(swarm: Swarm) -> None:
    """Time that goes backwards ends no attempt, and what was left of its clocks before a question is left after it."""
    engine, work = swarm.engine, await swarm.external(await swarm.task(attempt_timeout_ms=30_000), lease=LEASE)
    await swarm.pass_time(4)
    key = await engine.query_senior(swarm.operator, work.task_id, "?")
    await swarm.pass_time(-3600)
    await engine.resume(key, 1)
    await swarm.pass_time(0)

    attempt, now = await swarm.attempt(work.task_id), swarm.clock()
    assert (attempt.lease_expires_at, attempt.timeout_at) == (now + 6_000, now + 26_000)
    await engine.workers.heartbeat(work.handle)
    await swarm.submit(work)


async def test_a_watched_function_keeps_its_lease(swarm: Swarm, function: ScriptedFunction) -> None:
    """The server vouches for workers that it runs itself, at the pace of the attempt's own lease."""
    task_id = await swarm.task()
    await swarm.engine.dispatcher.dispatch(swarm.operator, task_id, IN_PROCESS, lease=timedelta(milliseconds=60))
    await function.called.wait()
    before = (await swarm.attempt(task_id)).lease_expires_at
    swarm.clock.advance(0.059)

    async def is_renewed() -> bool:
        return (await swarm.attempt(task_id)).lease_expires_at != before

    await eventually(is_renewed)
    function.give("done")
    assert (await swarm.engine.poll_task(swarm.operator, task_id, HOUR)).status is Status.PASS


async def test_nobody_vouches_for_a_worker_elsewhere(swarm: Swarm, function: ScriptedFunction) -> None:
    """A layer that has the server drive an external attempt does not renew the lease of its worker."""
    lease = timedelta(milliseconds=60)
    elsewhere, here = await swarm.task(), await swarm.task()
    await swarm.engine.dispatcher.dispatch(swarm.operator, elsewhere, EXTERNAL, lease=lease, layers=("long_hold",))

    async def is_running() -> bool:
        return (await swarm.attempt(elsewhere)).phase is Phase.RUNNING

    await eventually(is_running)
    await swarm.engine.dispatcher.dispatch(swarm.operator, here, IN_PROCESS, lease=lease)
    await function.called.wait()
    before = [(await swarm.attempt(x)).lease_expires_at for x in (elsewhere, here)]
    swarm.clock.advance(0.059)

    async def is_renewed() -> bool:
        return (await swarm.attempt(here)).lease_expires_at != before[1]

    # Both are looked at in the same rhythm, so what is to be renewed has been when the other one was, twice.
    await eventually(is_renewed)
    before[1] = (await swarm.attempt(here)).lease_expires_at
    swarm.clock.advance(0.03)
    await eventually(is_renewed)
    assert (await swarm.attempt(elsewhere)).lease_expires_at == before[0]
    await swarm.pass_time(0.001)

    assert (await swarm.attempt(elsewhere)).reason is Reason.LOST


# Retries


async def test_a_retry_comes_when_it_is_due(swarm: Swarm, function: ScriptedFunction) -> None:
    """Planned by the policy, waited for, dispatched as before; the dispatcher waits for the end of it all."""
    task_id = await swarm.task(retry=policy(backoff=2.0, multiplier=3.0))
    for outcome in (ValueError("one"), ValueError("two"), "three"):
        function.give(outcome)
    waiting = asyncio.ensure_future(swarm.engine.dispatcher.dispatch(swarm.operator, task_id, IN_PROCESS, wait=HOUR))

    for number, pause in ((1, 2.0), (2, 6.0)):

        async def is_planned() -> bool:
            return (await swarm.row(task_id)).retry_at is not None

        await eventually(is_planned)
        row = await swarm.row(task_id)
        assert (row.status, row.live, row.attempt) == (Status.RUNNING, False, number)
        assert row.retry_at == swarm.clock() + pause * 1000
        await swarm.pass_time(pause - 0.001)
        assert (await swarm.row(task_id)).attempt == number
        await swarm.pass_time(0.001)

    _, outcome = await waiting
    assert outcome is not None
    assert (outcome.outcome, outcome.value) == (Outcome.PASS, Json.of("three"))
    kinds = await swarm.kinds(task_id)
    assert kinds.count("task_retry_scheduled") == 2
    assert "task_blocked" not in kinds


async def planned(swarm: Swarm, function: ScriptedFunction, **spec: Any) -> tuple[str, asyncio.Future[Any]]:
    """A task whose first attempt failed and whose second is planned; and its dispatcher, who waits."""
    task_id = await swarm.task(retry=policy(max_attempts=2), **spec)
    function.give(ValueError("one"))
    waiting = asyncio.ensure_future(swarm.engine.dispatcher.dispatch(swarm.operator, task_id, IN_PROCESS, wait=HOUR))

    async def is_planned() -> bool:
        return (await swarm.row(task_id)).retry_at is not None

    await eventually(is_planned)
    return task_id, waiting


async def test_the_dispatcher_hears_of_a_question_in_a_later_attempt(swarm: Swarm, function: ScriptedFunction) -> None:
    """A wait for the first attempt returns at once when the second one asks a senior."""
    task_id, waiting = await planned(swarm, function)
    await swarm.pass_time(1)
    key = await swarm.engine.query_senior(swarm.operator, task_id, "?")

    _, outcome = await waiting

    assert outcome == DispatchOutcome(outcome=Outcome.SUSPENDED, key=key)


async def test_the_dispatcher_hears_how_a_later_attempt_ended(swarm: Swarm, function: ScriptedFunction) -> None:
    """Also when time ran out for it."""
    _, waiting = await planned(swarm, function, attempt_timeout_ms=5_000)
    await swarm.pass_time(1)
    await swarm.pass_time(5)

    _, outcome = await waiting

    assert (outcome.outcome, outcome.reason) == (Outcome.TIMEOUT, Reason.TIMEOUT)


async def test_a_policy_ends(swarm: Swarm, function: ScriptedFunction) -> None:
    """After its last attempt the task is blocked with that attempt's failure."""
    task_id = await swarm.task(retry=policy(max_attempts=2))
    function.give(ValueError("one"))
    function.give(ValueError("two"))
    waiting = asyncio.ensure_future(swarm.engine.dispatcher.dispatch(swarm.operator, task_id, IN_PROCESS, wait=HOUR))

    async def is_planned() -> bool:
        return (await swarm.row(task_id)).retry_at is not None

    await eventually(is_planned)
    await swarm.pass_time(1)
    _, outcome = await waiting

    assert outcome is not None
    assert outcome.value == Json.of({"reason": "worker-failed", "detail": "ValueError: two"})
    assert (await swarm.row(task_id)).attempt == 2


@pytest.mark.parametrize("ending", [*ALL, "says that it failed"])
@pytest.mark.parametrize("covered", [True, False])
async def test_only_covered_endings_are_tried_again(swarm: Swarm, ending: str, covered: bool) -> None:
    """Each of the four endings, named by the policy or not; a program that reports its failure is one that failed."""
    name_of_it = ending if ending in ALL else "failed"
    on = (name_of_it,) if covered else tuple(name for name in ALL if name != name_of_it)
    task_id = await swarm.task(retry=policy(on=on), attempt_timeout_ms=120_000)
    if ending == "failed":
        await swarm.engine.dispatcher.dispatch(swarm.operator, task_id, IN_PROCESS)
        await swarm.engine.with_state("fail", _failure(task_id))
    else:
        await swarm.engine.dispatcher.dispatch(swarm.operator, task_id, QUEUE)
        handle = await claimed(swarm)
        if ending == "blocked":
            await swarm.engine.workers.submit(handle, Json.of("no"), ok=False)
        elif ending == "says that it failed":
            await swarm.engine.workers.submit(handle, Json.of("a bug"), ok=False, failed=True)
            assert (await swarm.row(task_id)).last_result == Json.of("a bug")
        elif ending == "lost":
            await swarm.pass_time(60)
        else:
            swarm.clock.advance(119)
            await swarm.engine.workers.heartbeat(handle)
            await swarm.pass_time(1)

    row = await swarm.row(task_id)
    assert (row.retry_at is not None) is covered
    assert row.status is (Status.RUNNING if covered else Status.BLOCKED)


def _failure(task_id: str) -> Any:
    def fail(state: State) -> None:
        rows = attempts.require_own_attempt(state, task_id, 1, epoch=1)
        settling.fail_attempt(state, *rows, Reason.WORKER_FAILED, "broke", worker_gone=True)

    return fail


async def test_verdicts_are_not_tried_again(swarm: Swarm) -> None:
    """A person's verdict stands, whatever the policy; nor is an attempt whose handle was passed on."""
    judged = await swarm.task(retry=policy())
    await swarm.engine.dispatcher.dispatch(swarm.operator, judged, QUEUE)
    await swarm.engine.tasks.mark(swarm.operator, judged, ok=False)
    external = await swarm.external(await swarm.task(retry=policy()))
    await swarm.submit(external, "no", ok=False)

    for task_id in (judged, external.task_id):
        row = await swarm.row(task_id)
        assert (row.status, row.retry_at) == (Status.BLOCKED, None)


async def test_a_planned_retry_is_overtaken(swarm: Swarm) -> None:
    """Cancelling, judging and dispatching by hand take its place; it never comes on top."""
    tasks = [await swarm.task(retry=policy()) for _ in range(3)]
    for task_id in tasks:
        await swarm.engine.dispatcher.dispatch(swarm.operator, task_id, QUEUE)
        await swarm.engine.workers.submit(await claimed(swarm), Json.of("no"), ok=False)
    await swarm.engine.cancel_task(swarm.operator, tasks[0])
    await swarm.engine.tasks.mark(swarm.operator, tasks[1], ok=True)
    await swarm.external(tasks[2])

    await swarm.pass_time(3600)

    rows = [await swarm.row(task_id) for task_id in tasks]
    assert [(row.status, row.attempt, row.retry_at) for row in rows] == [
        (Status.CANCELLED, 1, None),
        (Status.PASS, 1, None),
        (Status.RUNNING, 2, None),
    ]


async def test_a_question_puts_a_planned_retry_off(swarm: Swarm) -> None:
    """Asked meanwhile, the task waits for the senior; after the answer the retry comes, with the answer."""
    engine, task_id = swarm.engine, await swarm.task(retry=policy())
    await engine.dispatcher.dispatch(swarm.operator, task_id, QUEUE)
    await engine.workers.submit(await claimed(swarm), Json.of("no"), ok=False)
    key = await engine.query_senior(swarm.operator, task_id, "Again?")
    await swarm.pass_time(3600)
    assert await swarm.status(task_id) is Status.SUSPENDED

    await engine.resume(key, "yes, carefully")
    row = await swarm.row(task_id)
    assert (row.status, row.last_result) == (Status.RUNNING, Json.of("no"))
    await swarm.pass_time(1)

    assert [x["answer"] for x in (await engine.workers.payload(await claimed(swarm))).answers] == ["yes, carefully"]


async def test_a_paused_loop_holds_retries_back(swarm: Swarm) -> None:
    """They come when it is resumed."""
    engine, task_id = swarm.engine, await swarm.task(retry=policy())
    await engine.dispatcher.dispatch(swarm.operator, task_id, QUEUE)
    await engine.workers.submit(await claimed(swarm), Json.of("no"), ok=False)
    await engine.switch.pause(swarm.senior)
    await swarm.pass_time(3600)
    assert (await swarm.row(task_id)).attempt == 1

    await engine.switch.resume(swarm.senior)
    await swarm.pass_time(0)

    assert (await swarm.row(task_id)).attempt == 2


class TooLong(Layer):
    """Prepares the first attempt and no other."""

    key = "too_long"

    def prepare(self, draft: Draft, look: Lookup) -> Draft:
        """Too large from the second attempt on."""
        if draft.facts.attempt > 1:
            raise PayloadTooLarge("directive", 7)
        return draft


class Odd(TooLong):
    """A TooLong that raises an unexpected exception."""

    key = "odd"

    def prepare(self, draft: Draft, look: Lookup) -> Draft:
        """Broken from the second attempt on."""
        if draft.facts.attempt > 1:
            raise ZeroDivisionError
        return draft


@pytest.mark.parametrize("layer", ["too_long", "odd"])
async def test_a_retry_that_cannot_be_prepared_blocks(plan: Plan, layer: str) -> None:
    """A layer that refuses the next attempt ends the waiting, and other due things are carried out all the same."""
    plan.layers = [TooLong(), Odd()]
    async with plan.engine() as engine:
        swarm = await Swarm.over(engine, plan)
        task_id, other = await swarm.task(retry=policy()), await swarm.external(lease=LEASE)
        await engine.dispatcher.dispatch(swarm.operator, task_id, QUEUE, layers=(layer,))
        await engine.workers.submit(await claimed(swarm), Json.of("no"), ok=False)
        await swarm.pass_time(10)

        row = await swarm.row(task_id)
        assert (row.status, row.attempt, row.retry_at) == (Status.BLOCKED, 1, None)
        assert row.last_result is not None
        assert row.last_result.value["reason"] == "spawn-failed"
        assert (await swarm.attempt(other.task_id)).reason is Reason.LOST


async def test_what_cannot_be_carried_out_keeps_nothing_else_waiting(
    swarm: Swarm, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of leases that run out together one raises an exception: the others end all the same, and it does later."""
    works = [await swarm.external(lease=LEASE) for _ in range(3)]
    broken, expire = works[1].task_id, settling.expire_attempt

    def fail_for_one(state: State, task_id: str, number: int) -> None:
        if task_id == broken:
            raise ZeroDivisionError
        expire(state, task_id, number)

    with monkeypatch.context() as faulty:
        faulty.setattr(settling, "expire_attempt", fail_for_one)
        swarm.clock.advance(10)
        assert await swarm.engine.timers.carry_out_due() == 1
    statuses = [await swarm.status(work.task_id) for work in works]
    assert statuses == [Status.BLOCKED, Status.RUNNING, Status.BLOCKED]
    await swarm.pass_time(0)
    assert await swarm.status(broken) is Status.BLOCKED


async def test_thousands_are_due_at_once(swarm: Swarm, monkeypatch: pytest.MonkeyPatch) -> None:
    """More than one batch of leases that run out in the same moment are all carried out, many in each transaction."""
    works = [await swarm.external(lease=LEASE) for _ in range(450)]
    ran, run = Counter[str](), swarm.engine.transactions.run

    def counted(op: str, fn: Any, **options: Any) -> Any:
        ran[op] += 1
        return run(op, fn, **options)

    monkeypatch.setattr(swarm.engine.transactions, "run", counted)
    await swarm.pass_time(10)
    rows = [await swarm.row(work.task_id) for work in works]
    assert {row.status for row in rows} == {Status.BLOCKED}
    assert ran["expire_attempts"] == len(works) / timers.TOGETHER


async def _has_status(swarm: Swarm, task_id: str, status: Status) -> bool:
    return await swarm.status(task_id) is status


async def test_what_another_transaction_has_locked_is_passed_over(swarm: Swarm) -> None:
    """The timers of two nodes share what is due: they do not queue up at each other's rows, and leave nothing."""
    if not swarm.plan.store_url.startswith("postgres"):
        return  # one transaction at a time
    engine, held, release = swarm.engine, threading.Event(), threading.Event()
    works = [await swarm.external(lease=LEASE) for _ in range(3)]
    retried = await swarm.task(retry=policy())
    await engine.dispatcher.dispatch(swarm.operator, retried, QUEUE)
    await engine.workers.submit(await claimed(swarm), Json.of("no"), ok=False)

    def hold(state: State) -> None:
        for task_id in (works[0].task_id, retried):
            lock_task(state, task_id, ENGINE)
        held.set()
        while not release.wait(1):
            state.db.query("SELECT 1", ())  # a transaction that stays idle is ended

    holding = asyncio.ensure_future(engine.with_state("hold", hold))
    try:
        await eventually(held.is_set)
        swarm.clock.advance(10)
        timers_at_work = asyncio.ensure_future(engine.timers.carry_out_due())
        for work in works[1:]:
            await eventually(partial(_has_status, swarm, work.task_id, Status.BLOCKED))
        assert await swarm.status(works[0].task_id) is Status.RUNNING
        assert (await swarm.row(retried)).attempt == 1
        assert not timers_at_work.done()
    finally:
        release.set()
        await holding
    assert await timers_at_work == 0
    assert await swarm.status(works[0].task_id) is Status.BLOCKED
    assert (await swarm.row(retried)).attempt == 2


async def test_the_timers_themselves_carry_out_what_is_due(store_url: str) -> None:
    """With the machine's clock and the engine's own timers a lease, a deadline and a retry come by themselves."""
    plan = Plan(store_url=store_url, clock=system_clock)
    async with Engine(plan.parts()) as engine:
        swarm = await Swarm.over(engine, plan)
        lost = await swarm.external(lease=timedelta(milliseconds=50))
        asked = await swarm.external()
        ask = Ask(question=Json.of("?"), deadline=system_clock() + 50, on_deadline=OnDeadline.BLOCK)
        await engine.questions.ask(asked.handle, ask)
        retried = await swarm.task(retry=policy(backoff=0.05))
        await engine.dispatcher.dispatch(swarm.operator, retried, QUEUE)
        await engine.workers.submit(await claimed(swarm), Json.of("no"), ok=False)

        async def are_blocked() -> bool:
            return {await swarm.status(work.task_id) for work in (lost, asked)} == {Status.BLOCKED}

        await eventually(are_blocked)
        async with asyncio.timeout(60):
            found = await engine.workers.claim(KEY, queue="q", hold=HOUR)
        assert found is not None
        assert found.payload.attempt == 2
        await refused(AttemptSuperseded, swarm.submit(lost))
        [event] = [x for x in await swarm.events(retried) if x.kind == "task_retry_scheduled"]
        assert values(event)["retry_at"] > event.at
