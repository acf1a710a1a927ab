"""A server process dies at some point of an attempt's life, and another one goes on."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import Any

import pytest

from app.domain.access import Role
from app.domain.attempts import Outcome, Phase, Reason
from app.domain.errors import AttemptSuperseded, InvalidTransition
from app.domain.json import Json
from app.domain.outputs import Final
from app.domain.sessions import OperatorKind
from app.domain.tasks import RetryPolicy, Status
from app.domain.tokens import Handle
from app.engine import recovery
from app.engine.ops.attempts import require_own_attempt
from app.engine.ops.idempotency import Idempotency
from app.spawning.adapters.in_process import FunctionRegistry
from app.spawning.ports import Exit
from tests.support.backends import Calls, ScriptedBackend
from tests.support.scripted import IN_PROCESS, Hook, ScriptedFunction, ScriptedSpawner
from tests.support.swarms import DAY, EXTERNAL, Plan, Swarm, crash, refused
from tests.support.waiting import eventually

NOW = timedelta(0)
LONG = timedelta(seconds=60)
RETRY = RetryPolicy(max_attempts=2, backoff=5.0, jitter=0.0)
KEY = "shk_" + "w" * 40


class Lives:
    """The engines that follow one another over one store."""

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        self.swarm: Swarm

    async def begin(self) -> Swarm:
        """The first one."""
        engine = self.plan.engine()
        await engine.start()
        self.swarm = await Swarm.over(engine, self.plan)
        return self.swarm

    async def die(self) -> None:
        """Kill the engine and start the next one; everybody keeps their tokens."""
        await crash(self.swarm.engine)
        self.swarm.engine = self.plan.engine()
        await self.swarm.engine.start()


@asynccontextmanager
async def living(plan: Plan) -> AsyncIterator[Lives]:
    lives = Lives(plan)
    await lives.begin()
    try:
        yield lives
    finally:
        await lives.swarm.engine.stop()


@pytest.fixture
async def lives(plan: Plan) -> AsyncIterator[Lives]:
    """An engine that may die."""
    async with living(plan) as found:
        yield found


async def phase_is(swarm: Swarm, task_id: str, phase: Phase) -> None:
    """Wait until the task's attempt has come so far."""

    async def has_come() -> bool:
        return (await swarm.attempt(task_id)).phase is phase

    await eventually(has_come)


async def test_a_worker_outside_goes_on(lives: Lives) -> None:
    """Same attempt, same handle and token, nothing run again: the worker does not notice."""
    swarm = lives.swarm
    work = await swarm.external(lease=timedelta(minutes=5))
    token = await swarm.worker_token(work)
    key = await swarm.engine.query_senior(work.handle, work.task_id, "?")
    before = await swarm.attempt(work.task_id)

    await lives.die()

    assert await swarm.attempt(work.task_id) == before
    await swarm.engine.resume(key, "yes")
    assert await swarm.engine.await_resume(key, NOW) == "yes"
    assert len((await swarm.engine.workers.payload(token)).answers) == 1
    await lives.die()
    assert await swarm.engine.await_resume(key, NOW) == "yes"
    await swarm.submit(work)
    assert await swarm.status(work.task_id) is Status.PASS
    assert (await swarm.attempt(work.task_id)).attempt == 1


async def test_a_worker_inside_is_lost(lives: Lives, function: ScriptedFunction) -> None:
    """A function died with its process: blocked as lost, and the next attempt is somebody's decision."""
    swarm = lives.swarm
    task_id = await swarm.task()
    await swarm.engine.dispatcher.dispatch(swarm.operator, task_id, IN_PROCESS)
    await phase_is(swarm, task_id, Phase.RUNNING)

    await lives.die()

    row, attempt = await swarm.row(task_id), await swarm.attempt(task_id)
    assert (row.status, attempt.outcome, attempt.reason) == (Status.BLOCKED, Outcome.BLOCKED, Reason.LOST)
    assert function.cancelled == 1
    assert swarm.engine.recovery.takeovers == {"rejoined": 0, "lost": 1}
    function.give("second")
    _, outcome = await swarm.engine.dispatcher.dispatch(swarm.operator, task_id, IN_PROCESS, wait=LONG)
    assert outcome is not None
    assert outcome.value == Json.of("second")


async def test_a_lost_worker_is_tried_again_by_its_policy(lives: Lives, function: ScriptedFunction) -> None:
    """The plan survives another death, and comes when it is due."""
    swarm = lives.swarm
    task_id = await swarm.task(retry=RETRY)
    await swarm.engine.dispatcher.dispatch(swarm.operator, task_id, IN_PROCESS)
    await phase_is(swarm, task_id, Phase.RUNNING)
    await lives.die()
    row = await swarm.row(task_id)
    assert (row.status, row.retry_at) == (Status.RUNNING, swarm.clock() + 5000)

    await lives.die()
    function.give("second")
    await swarm.pass_time(5)

    state = await swarm.engine.poll_task(swarm.operator, task_id, LONG)
    assert (state.status, state.task.attempt, state.task.last_result) == (Status.PASS, 2, Json.of("second"))


@pytest.mark.parametrize("again", [True, False])
async def test_a_worker_lost_while_a_senior_thinks(lives: Lives, function: ScriptedFunction, again: bool) -> None:
    """The question stays; the answer blocks the task, or goes to the attempt that its policy makes."""
    swarm = lives.swarm
    task_id = await swarm.task(retry=RETRY if again else None)
    await swarm.engine.dispatcher.dispatch(swarm.operator, task_id, IN_PROCESS)
    await phase_is(swarm, task_id, Phase.RUNNING)
    key = await swarm.engine.query_senior(swarm.operator, task_id, "?")
    await lives.die()
    row = await swarm.row(task_id)
    assert (row.status, row.live, row.open_questions) == (Status.SUSPENDED, False, 1)

    await swarm.engine.resume(key, "go on")

    row = await swarm.row(task_id)
    assert row.status is (Status.RUNNING if again else Status.BLOCKED)
    if again:
        function.give("second")
        await swarm.pass_time(5)
        assert (await swarm.engine.poll_task(swarm.operator, task_id, LONG)).task.attempt == 2
    else:
        assert row.last_result is not None
        assert row.last_result.value["reason"] == "lost"


async def test_a_backends_worker_is_joined_again(lives: Lives) -> None:
    """An operator backend that was executing is asked again, for the same attempt, by the next process."""
    swarm = lives.swarm
    calls = Calls()
    await swarm.engine.register_operator("main", ScriptedBackend(calls))
    task_id = await swarm.task()
    await swarm.engine.dispatcher.dispatch(swarm.operator, task_id, {"kind": "operator", "backend_id": "main"})
    await calls.seen("execute")

    await lives.die()
    final = Exit(final=Final(value=Json.of("again"), ok=True))
    await swarm.engine.register_operator("main", ScriptedBackend(calls, lambda: final))

    state = await swarm.engine.poll_task(swarm.operator, task_id, LONG)
    assert (state.status, state.task.attempt) == (Status.PASS, 1)
    assert (await swarm.attempt(task_id)).epoch == 2
    assert swarm.engine.recovery.takeovers == {"rejoined": 1, "lost": 0}
    assert ("cancel", task_id) not in calls.made


async def test_the_owner_before_is_fenced_off(lives: Lives) -> None:
    """What the dead process still had under way earns a conflict."""
    swarm = lives.swarm
    await swarm.engine.register_operator("main", ScriptedBackend(Calls()))
    task_id = await swarm.task()
    await swarm.engine.dispatcher.dispatch(swarm.operator, task_id, {"kind": "operator", "backend_id": "main"})
    await phase_is(swarm, task_id, Phase.RUNNING)
    await lives.die()

    late = swarm.engine.with_state("late", lambda s: require_own_attempt(s, task_id, 1, epoch=1))
    await refused(AttemptSuperseded, late)
    await swarm.engine.with_state("mine", lambda s: require_own_attempt(s, task_id, 1, epoch=2))


async def test_an_adapter_that_nobody_can_build_again_is_lost(lives: Lives) -> None:
    """A spawner of the program's own dies with the program, however long its workers live."""
    swarm = lives.swarm
    spawner = ScriptedSpawner(outlives=True)
    task_id = await swarm.task(retry=RETRY)
    waiting = asyncio.ensure_future(swarm.engine.dispatch_attempt_with(swarm.operator, task_id, spawner))
    await spawner.spawned.wait()
    await phase_is(swarm, task_id, Phase.RUNNING)

    await lives.die()

    waiting.cancel()
    attempt, row = await swarm.attempt(task_id), await swarm.row(task_id)
    assert (attempt.reason, row.status, row.retry_at) == (Reason.LOST, Status.BLOCKED, None)


async def test_a_function_that_is_gone_is_told(plan: Plan, function: ScriptedFunction) -> None:
    """A retry whose function the next process does not have ends as a failed spawn, and the server starts."""
    async with living(plan) as lives:
        swarm = lives.swarm
        task_id = await swarm.task(retry=RETRY)
        await swarm.engine.dispatcher.dispatch(swarm.operator, task_id, IN_PROCESS)
        await phase_is(swarm, task_id, Phase.RUNNING)
        lives.plan.functions = FunctionRegistry()
        await lives.die()
        await swarm.pass_time(5)

        async def is_blocked() -> bool:
            return await swarm.status(task_id) is Status.BLOCKED

        await eventually(is_blocked)
        row = await swarm.row(task_id)
        assert row.last_result is not None
        assert row.last_result.value["reason"] == "spawn-failed"
        assert "no function 'scripted'" in row.last_result.value["detail"]


# Layers


async def hooked(swarm: Swarm, **spec: Any) -> tuple[str, Handle]:
    """An attempt that a hook has to agree to."""
    session = await swarm.engine.attach_with_ids("main", Role.OPERATOR, DAY, kind=OperatorKind.MAIN_AI, hook_id="h")
    task_id = await swarm.task(**spec)
    made, _ = await swarm.engine.dispatcher.dispatch(session, task_id, EXTERNAL, layers=("main_ai",))
    assert made.handle is not None
    return task_id, Handle(made.handle)


async def test_an_attempt_that_waits_for_its_hook_waits_on(lives: Lives) -> None:
    """The next process asks the hook when it connects there; the handle of before works."""
    swarm = lives.swarm
    task_id, handle = await hooked(swarm)
    await lives.die()
    hook = Hook()
    await swarm.engine.register_spawn_hook("h", hook)
    await phase_is(swarm, task_id, Phase.RUNNING)

    await swarm.engine.workers.submit(handle, Json.of(1), ok=True)

    async with asyncio.timeout(60):
        await hook.notified.wait()


async def test_the_last_steps_are_taken_by_the_next_process(lives: Lives) -> None:
    """A server that dies between the end of an attempt and its layers' last steps leaves them to its follower."""
    swarm = lives.swarm
    hook = Hook()
    registration = await swarm.engine.register_spawn_hook("h", hook)
    task_id, handle = await hooked(swarm)
    await phase_is(swarm, task_id, Phase.RUNNING)
    await swarm.engine.unregister_spawn_hook("h", registration)
    await swarm.engine.workers.submit(handle, Json.of(1), ok=True)
    assert (await swarm.attempt(task_id)).phase is Phase.FINISHING
    assert await swarm.status(task_id) is Status.PASS

    await lives.die()
    second = Hook()
    await swarm.engine.register_spawn_hook("h", second)

    async with asyncio.timeout(60):
        await second.notified.wait()
    await phase_is(swarm, task_id, Phase.ENDED)
    assert (len(hook.after_calls), len(second.after_calls)) == (0, 1)


async def test_a_held_final_waits_on(lives: Lives) -> None:
    """A restart between the failed Final and the senior's answer changes nothing."""
    swarm = lives.swarm
    work = await swarm.external(layers=("senior_escalation",))
    await swarm.submit(work, "no", ok=False)
    [key] = (await swarm.engine.read_task_state(swarm.operator, work.task_id)).suspended_on
    await lives.die()
    await swarm.submit(work, "no", ok=False)

    await swarm.engine.questions.answer(swarm.senior, key, Json.of("fine"))

    row = await swarm.row(work.task_id)
    assert (row.status, row.last_result) == (Status.PASS, Json.of({"original": "no", "senior_answer": "fine"}))


async def test_a_held_function_waits_on_too(lives: Lives, function: ScriptedFunction) -> None:
    """Its Final is safe, though the function is gone with its process."""
    swarm = lives.swarm
    function.give(Final(value=Json.of("no"), ok=False))
    task_id = await swarm.task()
    await swarm.engine.dispatcher.dispatch(swarm.operator, task_id, IN_PROCESS, layers=("senior_escalation",))
    await phase_is(swarm, task_id, Phase.HELD)
    [key] = (await swarm.engine.read_task_state(swarm.operator, task_id)).suspended_on
    await lives.die()

    await swarm.engine.resume(key, {"uphold": True})

    row = await swarm.row(task_id)
    assert (row.status, row.last_result) == (Status.BLOCKED, Json.of("no"))


async def test_a_spawn_under_way_is_begun_again(lives: Lives, trace: list[str]) -> None:
    """Where the row says that a worker outside was being started, the layers' spawn runs once more."""
    swarm = lives.swarm
    task_id = await swarm.task()
    await swarm.engine.dispatcher.dispatch(swarm.operator, task_id, EXTERNAL, layers=("one",))
    await phase_is(swarm, task_id, Phase.RUNNING)
    await swarm.engine.with_state("back", lambda s: s.db.change("UPDATE attempts SET phase = 'spawning'", ()))
    await lives.die()
    await phase_is(swarm, task_id, Phase.RUNNING)
    assert trace.count("spawned one") == 2


# What else lasts


async def test_queues_last(lives: Lives) -> None:
    """What waited still waits, what was claimed is its worker's, and nobody gets it twice."""
    swarm = lives.swarm
    await swarm.engine.keys.ensure_root(KEY)
    tasks = [await swarm.task() for _ in range(2)]
    for task_id in tasks:
        await swarm.engine.dispatcher.dispatch(swarm.operator, task_id, {"kind": "queue", "queue": "q"})
    first = await swarm.engine.workers.claim(KEY, queue="q", hold=NOW)
    await lives.die()
    second = await swarm.engine.workers.claim(KEY, queue="q", hold=NOW)

    assert first is not None
    assert second is not None
    assert [first.payload.task_id, second.payload.task_id] == tasks
    assert await swarm.engine.workers.claim(KEY, queue="q", hold=NOW) is None
    for claim in (first, second):
        await swarm.engine.workers.submit(Handle(claim.handle), Json.of(1), ok=True)


async def test_idempotency_lasts(lives: Lives) -> None:
    """A repeat that reaches the next process is the same dispatch, with a handle that works."""
    swarm = lives.swarm
    task_id, again = await swarm.task(), Idempotency("k", "f")
    first, _ = await swarm.engine.dispatcher.dispatch(swarm.operator, task_id, EXTERNAL, idempotency=again)
    await lives.die()
    second, _ = await swarm.engine.dispatcher.dispatch(swarm.operator, task_id, EXTERNAL, idempotency=again)

    assert (second.task_id, second.attempt) == (first.task_id, first.attempt)
    assert second.handle not in (None, first.handle)
    for text in (first.handle, second.handle):
        await swarm.engine.workers.payload(Handle(str(text)))
    await refused(InvalidTransition, swarm.engine.dispatcher.dispatch(swarm.operator, task_id, EXTERNAL))


async def test_a_crowd_is_recovered(
    lives: Lives, function: ScriptedFunction, trace: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """More attempts of every kind than fit a page are each found once."""
    swarm = lives.swarm
    inside = [await swarm.task() for _ in range(120)]
    layered = [await swarm.task() for _ in range(120)]
    for task_id in inside:
        await swarm.engine.dispatcher.dispatch(swarm.operator, task_id, IN_PROCESS)
    for task_id in layered:
        await swarm.engine.dispatcher.dispatch(swarm.operator, task_id, EXTERNAL, layers=("one",))
    await eventually(lambda: len(function.calls) == 120 and trace.count("spawned one") == 120)

    monkeypatch.setattr(recovery, "_PAGE", 50)
    await lives.die()

    assert {await swarm.status(task_id) for task_id in inside} == {Status.BLOCKED}
    for task_id in layered:
        assert (await swarm.attempt(task_id)).epoch == 2
        await swarm.engine.submit_worker_result_trusted(task_id, 1, "done", True)
