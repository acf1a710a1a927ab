"""Dispatching: the four phases and every way in which they go wrong."""

import asyncio
from datetime import timedelta
from typing import Any

import pytest

from app.domain.access import ENGINE
from app.domain.attempts import Outcome, Phase, Reason
from app.domain.errors import (
    AttemptSuperseded,
    Cancelled,
    DispatchFailed,
    InvalidRequest,
    InvalidTransition,
    PollTimeout,
    StoreUnavailable,
)
from app.domain.json import Json
from app.domain.outputs import Final, OutputEvent
from app.domain.tasks import Status
from app.domain.tokens import Handle
from app.engine.ops import cancelling
from app.engine.ops.task_filters import TaskFilter
from app.spawning.ports import Exit, Job, SpawnFailed, SpawnRefused
from app.state.state import State
from tests.support.scripted import (
    IN_PROCESS,
    ScriptedFunction,
    ScriptedSpawner,
)
from tests.support.swarms import EXTERNAL, Plan, Swarm, crash, refused, unchanged, values, with_cfg
from tests.support.waiting import eventually

HOUR = timedelta(hours=1)
LONG = timedelta(seconds=60)


async def dispatched(swarm: Swarm, spec: dict[str, Any], **options: Any) -> Any:
    """How a new task's attempt came out."""
    task_id = await swarm.task()
    return (await swarm.engine.dispatcher.dispatch(swarm.operator, task_id, spec, wait=LONG, **options))[1]


async def test_identity_ships(swarm: Swarm) -> None:
    """The function `identity` gives the prompt back."""
    outcome = await dispatched(swarm, {"kind": "in_process", "function": "identity"})
    assert (outcome.outcome, outcome.value, outcome.reason) == (Outcome.PASS, Json.of("Do it."), Reason.FINAL)


@pytest.mark.parametrize(
    ("given", "outcome", "reason", "value"),
    [
        ({"a": 1}, Outcome.PASS, Reason.FINAL, {"a": 1}),
        (None, Outcome.PASS, Reason.FINAL, None),
        (Final(value=Json.of("no"), ok=False), Outcome.BLOCKED, Reason.FINAL, "no"),
        (ValueError("broken"), Outcome.BLOCKED, Reason.WORKER_FAILED, "ValueError: broken"),
        (SystemExit(3), Outcome.BLOCKED, Reason.WORKER_FAILED, "SystemExit: 3"),
        (object(), Outcome.BLOCKED, Reason.WORKER_FAILED, "TypeError: Type is not JSON serializable: object"),
    ],
    ids=lambda x: type(x).__name__,
)
async def test_every_end_of_a_function_ends_its_attempt(
    swarm: Swarm, function: ScriptedFunction, given: Any, outcome: Outcome, reason: Reason, value: Any
) -> None:
    """A returned value passes, an exception blocks with its name, and the dispatcher gets the outcome."""
    function.give(given)
    found = await dispatched(swarm, IN_PROCESS)

    assert (found.outcome, found.reason) == (outcome, reason)
    if reason is Reason.WORKER_FAILED:
        assert found.value == Json.of({"reason": "worker-failed", "detail": value})
    else:
        assert found.value == Json.of(value)


async def test_a_custom_adapter_is_walked_through_its_phases(swarm: Swarm) -> None:
    """prepare, spawn, join and apply, each of them visible in the row."""
    gate = asyncio.Event()
    spawner = ScriptedSpawner(spawn=lambda _: gate.wait())
    task_id = await swarm.task()
    waiting = asyncio.ensure_future(swarm.engine.dispatch_attempt_with(swarm.operator, task_id, spawner))

    await eventually(lambda: spawner.jobs)
    assert (await swarm.attempt(task_id)).phase is Phase.SPAWNING
    gate.set()
    await spawner.spawned.wait()

    async def is_running() -> bool:
        return (await swarm.attempt(task_id)).phase is Phase.RUNNING

    await eventually(is_running)
    control = spawner.controls[0]
    await control.output(OutputEvent.progress("half"))
    await control.bake_system("be brief")
    await control.record_process({"pid": 1})
    handle = await control.mint_handle()
    assert await swarm.engine.task_id_from_handle(handle) == task_id
    assert await swarm.engine.task_id_from_token(await control.worker_token()) == task_id
    spawner.workers[0].exit.set_result(Exit(final=Final(value=Json.of(7), ok=True)))

    assert (await waiting).value == Json.of(7)
    row = await swarm.attempt(task_id)
    assert (row.phase, row.system, row.process) == (Phase.ENDED, Json.of("be brief"), Json.of({"pid": 1}))
    for call in (control.mint_handle(), control.output(OutputEvent.partial(1)), control.bake_system(None)):
        await refused(AttemptSuperseded, call)
    await control.ended()


async def test_a_final_is_no_output(swarm: Swarm) -> None:
    """What a spawner says in its worker's name is never the end by itself."""
    spawner = ScriptedSpawner()
    task_id = await swarm.task()
    waiting = asyncio.ensure_future(swarm.engine.dispatch_attempt_with(swarm.operator, task_id, spawner))
    await spawner.spawned.wait()
    await refused(InvalidRequest, spawner.controls[0].output(OutputEvent.final(1)))
    await swarm.engine.cancel_task(swarm.operator, task_id)
    assert (await waiting).outcome is Outcome.CANCELLED


@pytest.mark.parametrize(
    ("error", "reason", "detail"),
    [
        (SpawnFailed("no such program"), Reason.SPAWN_FAILED, "no such program"),
        (SpawnRefused("not today"), Reason.REFUSED, "not today"),
        (KeyError("x\x00\ud800"), Reason.SPAWN_FAILED, None),
        (InvalidTransition("T-1", "a", "b"), Reason.SPAWN_FAILED, None),
    ],
    ids=repr,
)
async def test_a_failed_spawn_blocks_the_task(
    swarm: Swarm, error: Exception, reason: Reason, detail: str | None
) -> None:
    """Whatever a spawner raises settles its attempt under its name; nothing is left running."""

    async def fail(_: Job) -> None:
        raise error

    task_id = await swarm.task()
    outcome = await swarm.engine.dispatch_attempt_with(swarm.operator, task_id, ScriptedSpawner(spawn=fail))

    assert (outcome.outcome, outcome.reason) == (Outcome.BLOCKED, reason)
    row = await swarm.row(task_id)
    assert (row.status, row.live) == (Status.BLOCKED, False)
    if detail is not None:
        assert row.last_result == Json.of({"reason": reason.value, "detail": detail})


@pytest.mark.parametrize("how", ["join raises", "join is cancelled", "no final"])
async def test_a_worker_that_breaks_blocks_the_task(swarm: Swarm, how: str) -> None:
    """A worker's exit without a Final is a failure that names itself."""
    spawner = ScriptedSpawner()
    task_id = await swarm.task()
    waiting = asyncio.ensure_future(swarm.engine.dispatch_attempt_with(swarm.operator, task_id, spawner))
    await spawner.spawned.wait()
    exit = spawner.workers[0].exit
    match how:
        case "join raises":
            exit.set_exception(OSError("gone"))
        case "join is cancelled":
            exit.cancel()
        case _:
            exit.set_result(Exit(detail="exit status 3"))

    outcome = await waiting

    assert (outcome.outcome, outcome.reason) == (Outcome.BLOCKED, Reason.WORKER_FAILED)


async def test_cancelling_stops_the_worker(swarm: Swarm, function: ScriptedFunction) -> None:
    """A running function and a spawn in progress are both cancelled; later results are ignored."""
    task_id = await swarm.task()
    await swarm.engine.dispatcher.dispatch(swarm.operator, task_id, IN_PROCESS)
    await function.called.wait()
    spawner = ScriptedSpawner(spawn=lambda _: asyncio.Event().wait())
    other = await swarm.task()
    waiting = asyncio.ensure_future(swarm.engine.dispatch_attempt_with(swarm.operator, other, spawner))
    await eventually(lambda: spawner.jobs)

    for cancelled in (task_id, other):
        await swarm.engine.cancel_task(swarm.operator, cancelled)

    assert (await waiting).outcome is Outcome.CANCELLED
    await eventually(lambda: function.cancelled and spawner.cancelled)
    assert not spawner.workers


async def test_a_worker_that_ends_with_its_attempt_is_stopped_all_the_same(swarm: Swarm) -> None:
    """The worker is stopped even if its join returns before the driver knows that the attempt has ended."""
    spawner, loop = ScriptedSpawner(outlives=True), asyncio.get_running_loop()
    task_id = await swarm.task()
    waiting = asyncio.ensure_future(swarm.engine.dispatch_attempt_with(swarm.operator, task_id, spawner))
    await spawner.spawned.wait()
    [worker] = spawner.workers

    def end_both(state: State) -> None:
        cancelling.cancel(state, ENGINE, task_id, None)
        loop.call_soon_threadsafe(worker.end, Exit(detail="the attempt is over"))

    await swarm.engine.with_state("cancel", end_both)

    assert (await waiting).outcome is Outcome.CANCELLED
    async with asyncio.timeout(60):
        await worker.stopped.wait()


async def test_a_worker_that_returns_after_its_end_changes_nothing(swarm: Swarm) -> None:
    """A verdict, then a new attempt; the old worker's value changes nothing."""
    spawner = ScriptedSpawner(outlives=True)
    task_id = await swarm.task()
    waiting = asyncio.ensure_future(swarm.engine.dispatch_attempt_with(swarm.operator, task_id, spawner))
    await spawner.spawned.wait()
    await swarm.engine.tasks.mark(swarm.operator, task_id, ok=False)
    assert (await waiting).reason is Reason.VERDICT
    await spawner.workers[0].stopped.wait()

    work = await swarm.external(task_id)
    await swarm.submit(work, "second")

    assert (await swarm.row(task_id)).last_result == Json.of("second")
    assert (await swarm.attempt(task_id, 1)).final is None


async def test_a_worker_may_submit_and_leave_by_itself(plan: Plan) -> None:
    """One that submitted with its handle is given time to end, and is not stopped when it does."""
    spawner = ScriptedSpawner()
    async with with_cfg(plan, stop_grace_ms=60_000).engine() as engine:
        swarm = await Swarm.over(engine, plan)
        task_id = await swarm.task()
        waiting = asyncio.ensure_future(engine.dispatch_attempt_with(swarm.operator, task_id, spawner))
        await spawner.spawned.wait()
        await engine.submit_worker_result_trusted(task_id, 1, "mine", True)
        assert (await waiting).value == Json.of("mine")
        spawner.workers[0].exit.set_result(Exit(detail="exit status 0"))

        await eventually(lambda: not engine.dispatcher.running)
        assert not spawner.workers[0].stopped.is_set()


async def test_a_dispatch_that_the_engine_leaves_is_told_so(plan: Plan) -> None:
    """At any stage, stopping the engine raises StoreUnavailable in the dispatcher's call without cancelling it."""
    plan = with_cfg(plan, stop_grace_ms=10)
    for ticks in range(12):
        engine = plan.engine()
        await engine.start()
        swarm = await Swarm.over(engine, plan)
        dispatching = asyncio.ensure_future(engine.dispatcher.dispatch(swarm.operator, await swarm.task(), IN_PROCESS))
        for _ in range(ticks):
            await asyncio.sleep(0)
        await crash(engine)
        [outcome] = await asyncio.gather(dispatching, return_exceptions=True)
        assert isinstance(outcome, tuple | StoreUnavailable), outcome


async def test_one_live_attempt_at_a_time(swarm: Swarm) -> None:
    """Of racing dispatches one is prepared, and the others are refused without a trace."""
    task_id = await swarm.task()
    outcomes = await asyncio.gather(
        *(swarm.engine.dispatcher.dispatch(swarm.operator, task_id, EXTERNAL) for _ in range(10)),
        return_exceptions=True,
    )
    assert sorted(type(outcome).__name__ for outcome in outcomes) == ["InvalidTransition"] * 9 + ["tuple"]
    assert (await swarm.row(task_id)).attempt == 1
    await unchanged(swarm, InvalidTransition, swarm.engine.dispatcher.dispatch(swarm.operator, task_id, EXTERNAL))


async def test_a_suspended_dispatch_returns_its_key(swarm: Swarm) -> None:
    """Dispatch returns `suspended` as soon as a question is asked; the attempt continues after the answer."""
    task_id = await swarm.task()
    spawner = ScriptedSpawner()
    waiting = asyncio.ensure_future(swarm.engine.dispatch_attempt_with(swarm.operator, task_id, spawner))
    await spawner.spawned.wait()
    key = await swarm.engine.query_senior(swarm.operator, task_id, "?")

    outcome = await waiting
    assert (outcome.outcome, outcome.key) == (Outcome.SUSPENDED, key)
    await swarm.engine.resume(key, "go on")
    spawner.workers[0].exit.set_result(Exit(final=Final(value=Json.of(1), ok=True)))
    state = await swarm.engine.poll_task(swarm.operator, task_id, LONG)

    assert state.status is Status.PASS


async def test_a_dispatch_ends_its_wait_and_not_the_attempt(swarm: Swarm, function: ScriptedFunction) -> None:
    """With `wait` the call returns in time; cancelling the caller ends nothing either."""
    task_id = await swarm.task()
    made, outcome = await swarm.engine.dispatcher.dispatch(
        swarm.operator, task_id, IN_PROCESS, wait=timedelta(milliseconds=10)
    )
    assert (made.attempt, outcome) == (1, None)
    other = await swarm.task()
    error = await refused(
        PollTimeout,
        swarm.engine.dispatch_attempt_with(swarm.operator, other, ScriptedSpawner(), wait=timedelta(milliseconds=10)),
    )
    assert other in str(error)
    function.give("in the end")
    assert (await swarm.engine.poll_task(swarm.operator, task_id, LONG)).status is Status.PASS
    assert (await swarm.row(other)).live


async def test_a_dispatcher_that_leaves_at_any_moment_leaves_a_driven_attempt(
    swarm: Swarm, function: ScriptedFunction
) -> None:
    """A call that is cancelled after so many turns of the loop has prepared nothing, or an attempt that is driven."""
    for turns in range(12):
        task_id = await swarm.task()
        call = asyncio.ensure_future(swarm.engine.dispatcher.dispatch(swarm.operator, task_id, IN_PROCESS))
        for _ in range(turns):
            await asyncio.sleep(0)
        call.cancel()
        await asyncio.gather(call, return_exceptions=True)

    async def all_driven() -> bool:
        page = await swarm.engine.tasks.page(swarm.operator, TaskFilter(status=Status.RUNNING))
        return len(page.items) == len(function.calls)

    await eventually(all_driven)


async def test_a_spawner_that_cannot_be_built_is_refused(swarm: Swarm) -> None:
    """Unknown kinds, functions and fields raise DispatchFailed, and nothing is prepared."""
    task_id = await swarm.task()
    for spec in ({}, {"kind": "none"}, {"kind": "in_process", "function": "none"}, {"kind": "external", "x": 1}):
        await unchanged(swarm, DispatchFailed, swarm.engine.dispatcher.dispatch(swarm.operator, task_id, spec))
    await unchanged(
        swarm,
        InvalidRequest,
        swarm.engine.dispatcher.dispatch(swarm.operator, task_id, EXTERNAL, lease=timedelta(0)),
    )


async def test_workers_dispatch_their_children_with_what_is_allowed(swarm: Swarm) -> None:
    """External, in-process and queue spawners; others are refused to workers."""
    work = await swarm.external()
    child = await swarm.child(work)
    refusal = swarm.engine.dispatcher.dispatch(work.handle, child, {"kind": "operator", "backend_id": "x"})
    await unchanged(swarm, DispatchFailed, refusal)
    _, outcome = await swarm.engine.dispatcher.dispatch(
        work.handle, child, {"kind": "in_process", "function": "identity"}, wait=LONG
    )
    assert outcome is not None
    assert outcome.value == Json.of("Help.")


async def test_the_started_event_tells_who_and_through_what(swarm: Swarm) -> None:
    """The base layer `audit` notes session, spawner and layers."""
    work = await swarm.external(layers=("long_hold",))
    [started] = [x for x in await swarm.events(work.task_id) if x.kind == "task_attempt_started"]
    session = (await swarm.engine.sessions.read_own(swarm.operator)).id
    assert values(started) == {
        "agent": "coder",
        "by": session,
        "layers": ["long_hold"],
        "spawner": "external",
    }


async def test_a_refused_worker_learns_of_the_cancel(swarm: Swarm) -> None:
    """A dispatch whose task is cancelled while its caller waits comes out as cancelled."""
    task_id = await swarm.task()
    waiting = asyncio.ensure_future(swarm.engine.dispatcher.dispatch(swarm.operator, task_id, EXTERNAL, wait=LONG))

    async def is_running() -> bool:
        return await swarm.status(task_id) is Status.RUNNING

    await eventually(is_running)
    await swarm.engine.cancel_task(swarm.operator, task_id)
    made, outcome = await waiting
    assert outcome is not None
    assert (outcome.outcome, outcome.value) == (Outcome.CANCELLED, None)
    assert made.handle is not None
    await refused(Cancelled, swarm.engine.workers.payload(Handle(made.handle)))
