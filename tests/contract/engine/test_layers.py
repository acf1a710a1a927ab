"""The layers around an attempt: their order, their last steps, their faults, and spawn hooks."""

import asyncio
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from app.domain.access import Role
from app.domain.attempts import DispatchOutcome, Outcome, Phase, Reason
from app.domain.errors import (
    DispatchFailed,
    NotStarted,
)
from app.domain.json import Json
from app.domain.outputs import Final, OutputEvent
from app.domain.sessions import OperatorKind
from app.domain.tokens import Handle
from app.spawning.ports import Control, Draft, Facts, Job, Layer, Lookup, Spawn, SpawnRefused, Worker
from app.spawning.stack import link
from tests.support.scripted import (
    IN_PROCESS,
    Hook,
    ScriptedFunction,
    ScriptedSpawner,
)
from tests.support.swarms import DAY, EXTERNAL, Plan, Swarm, refused, unchanged
from tests.support.waiting import eventually

HOUR = timedelta(hours=1)
LONG = timedelta(seconds=60)


async def dispatched(swarm: Swarm, spec: dict[str, Any], **options: Any) -> Any:
    """How a new task's attempt came out."""
    task_id = await swarm.task()
    return (await swarm.engine.dispatcher.dispatch(swarm.operator, task_id, spec, wait=LONG, **options))[1]


async def test_layers_stand_in_order(swarm: Swarm, function: ScriptedFunction, trace: list[str]) -> None:
    """Innermost first into the attempt and out of it, outermost last around the spawn; each once, unknown skipped."""
    function.give("value")
    task_id = await swarm.task()
    _, outcome = await swarm.engine.dispatcher.dispatch(
        swarm.operator, task_id, IN_PROCESS, layers=("one", "nobody", "two", "one"), wait=LONG
    )

    assert outcome is not None
    assert outcome.value == Json.of("value+one+two")
    assert function.calls[0].prompt == "Do it.+one+two"
    await eventually(lambda: len(trace) == 10)
    assert trace == [
        "prepare one",
        "prepare two",
        "spawn two",
        "spawn one",
        "spawned one",
        "spawned two",
        "settle one",
        "settle two",
        "after one pass",
        "after two pass",
    ]
    assert (await swarm.attempt(task_id)).layers == Json.of(["one", "two"])


async def test_strict_hints_refuse_the_unknown(plan: Plan) -> None:
    """Under `strict_hints` a layer that does not exist is no dispatch."""
    plan = replace(plan, cfg=replace(plan.cfg, strict_hints=True))
    async with plan.engine() as engine:
        swarm = await Swarm.over(engine, plan)
        task_id = await swarm.task()
        await unchanged(
            swarm, DispatchFailed, engine.dispatcher.dispatch(swarm.operator, task_id, EXTERNAL, layers=("nobody",))
        )


ENDS = {"pass": "pass", "verdict": "pass", "cancel": "cancelled", "timeout": "timeout"}


@pytest.mark.parametrize("how", ["pass", "blocked", "cancel", "verdict", "timeout", "lost", "revoked"])
async def test_layers_hear_of_every_ending(swarm: Swarm, trace: list[str], how: str) -> None:
    """Whatever ends an attempt, its layers take their last step, once."""
    engine = swarm.engine
    token = await engine.attach("o", Role.OPERATOR, DAY)
    task_id = await swarm.task(attempt_timeout_ms=5000)
    made, _ = await engine.dispatcher.dispatch(token, task_id, EXTERNAL, layers=("one",), lease=timedelta(seconds=10))
    assert made.handle is not None
    handle = Handle(made.handle)

    async def has_started() -> bool:
        return (await swarm.attempt(task_id)).phase is Phase.RUNNING

    await eventually(has_started)
    match how:
        case "pass" | "blocked":
            await engine.workers.submit(handle, Json.of(1), ok=how == "pass")
        case "cancel":
            await engine.cancel_task(swarm.operator, task_id)
        case "verdict":
            await engine.tasks.mark(swarm.operator, task_id, ok=True)
        case "timeout":
            await swarm.pass_time(5)
        case "lost":
            await engine.with_state(
                "no timeout",
                lambda s: s.db.change("UPDATE attempts SET timeout_at = NULL", ()),
            )
            await swarm.pass_time(10)
        case _:
            await engine.credentials.revoke(swarm.operator, (await engine.sessions.read_own(token)).jti)

    async def is_ended() -> bool:
        return (await swarm.attempt(task_id)).phase is Phase.ENDED

    await eventually(is_ended)
    assert [step for step in trace if step.startswith("after")] == [f"after one {ENDS.get(how, 'blocked')}"]


class Broken(Layer):
    """A layer of somebody else's that raises."""

    key = "broken"

    def __init__(self, where: str) -> None:
        self._where = where

    def _reach(self, step: str) -> None:
        if step == self._where:
            raise RuntimeError(f"broken in {step}")

    def prepare(self, draft: Draft, look: Lookup) -> Draft:
        self._reach("prepare")
        return draft

    async def spawn(self, job: Job, control: Control, inner: Spawn) -> Worker:
        self._reach("spawn")
        return await inner(job, control)

    def watch(self, job: Job, control: Control, worker: Worker) -> Worker:
        self._reach("watch")
        return worker

    def settle(self, final: Final, facts: Facts) -> Final:
        self._reach("settle")
        return final

    async def after(self, job: Job, control: Control, outcome: DispatchOutcome) -> None:
        self._reach("after")


@pytest.mark.parametrize("where", ["spawn", "watch", "settle", "after"])
async def test_a_broken_layer_settles_its_attempt(plan: Plan, function: ScriptedFunction, where: str) -> None:
    """Whatever a layer does wrong, the task ends and no driver dies."""
    plan = replace(plan, layers=[Broken(where)])
    async with plan.engine() as engine:
        swarm = await Swarm.over(engine, plan)
        function.give("value")
        outcome = await dispatched(swarm, IN_PROCESS, layers=("broken",))
        assert outcome.outcome is (Outcome.PASS if where == "after" else Outcome.BLOCKED)
        await eventually(lambda: not engine.dispatcher.running)


async def test_linking_is_by_the_engines_registry(swarm: Swarm, trace: list[str]) -> None:
    """A stack that was linked before may be dispatched as it is."""
    spawner = ScriptedSpawner()
    stack = link(spawner, ("two",), swarm.engine)
    task_id = await swarm.task()
    waiting = asyncio.ensure_future(swarm.engine.dispatch_attempt_with(swarm.operator, task_id, stack))
    await spawner.spawned.wait()
    await swarm.engine.cancel_task(swarm.operator, task_id)
    assert (await waiting).outcome is Outcome.CANCELLED
    assert "spawn two" in trace


# Spawn hooks


async def hooked(swarm: Swarm, hook_id: str = "h", kind: OperatorKind | None = OperatorKind.MAIN_AI) -> Any:
    """A session whose attempts a hook has to agree to."""
    return await swarm.engine.attach_with_ids("main", Role.OPERATOR, DAY, kind=kind, hook_id=hook_id)


async def test_a_handle_waits_for_the_hook(swarm: Swarm) -> None:
    """Before the hook approves, the handle gets NotStarted; at the end the hook is notified of the outcome."""
    engine, hook = swarm.engine, Hook(agree=False)
    await engine.register_spawn_hook("h", hook)
    task_id = await swarm.task()
    made, _ = await engine.dispatcher.dispatch(await hooked(swarm), task_id, EXTERNAL, layers=("main_ai",))
    assert made.handle is not None
    handle = Handle(made.handle)
    await hook.asked.wait()
    for call in (
        engine.workers.payload(handle),
        engine.workers.submit(handle, Json.of(1), ok=True),
        engine.workers.emit(handle, OutputEvent.partial(1)),
        engine.workers.heartbeat(handle),
        engine.read_task_state(handle, task_id),
        engine.query_senior(handle, task_id, "?"),
    ):
        await refused(NotStarted, call)
    hook.verdict.set_result(None)

    async def may_fetch() -> bool:
        return (await swarm.attempt(task_id)).phase is Phase.RUNNING

    await eventually(may_fetch)
    await engine.workers.submit(handle, Json.of(1), ok=True)
    async with asyncio.timeout(60):
        await hook.notified.wait()
    assert [(x.outcome, x.value) for x in hook.after_calls] == [(Outcome.PASS, Json.of(1))]


async def test_a_hook_that_refuses_blocks_with_its_reason(swarm: Swarm) -> None:
    """The task is blocked, the worker's handle is invalid, and the hook is notified."""
    engine, hook = swarm.engine, Hook(agree=False)
    await engine.register_spawn_hook("h", hook)
    hook.verdict.set_exception(SpawnRefused("too dear"))
    task_id = await swarm.task()
    _, outcome = await engine.dispatcher.dispatch(
        await hooked(swarm), task_id, EXTERNAL, layers=("main_ai",), wait=LONG
    )

    assert outcome is not None
    assert (outcome.outcome, outcome.reason) == (Outcome.BLOCKED, Reason.REFUSED)
    assert outcome.value == Json.of({"reason": "refused", "detail": "too dear"})
    async with asyncio.timeout(60):
        await hook.notified.wait()


async def test_an_attempt_waits_for_its_hook_to_connect(swarm: Swarm) -> None:
    """While nobody is registered under the id the attempt waits, without a clock running; cancelling ends that."""
    engine = swarm.engine
    tasks = [await swarm.task(), await swarm.task()]
    token = await hooked(swarm)
    for task_id in tasks:
        await engine.dispatcher.dispatch(token, task_id, EXTERNAL, layers=("main_ai",))
    await swarm.pass_time(30 * 86400)
    assert [(await swarm.attempt(x)).phase for x in tasks] == [Phase.WAITING, Phase.WAITING]
    await engine.cancel_task(swarm.operator, tasks[0])

    hook = Hook()
    await engine.register_spawn_hook("h", hook)

    async def is_running() -> bool:
        return (await swarm.attempt(tasks[1])).phase is Phase.RUNNING

    await eventually(is_running)
    assert tasks[1] in [job.task_id for job in hook.before_calls]
    async with asyncio.timeout(60):
        await hook.notified.wait()
    assert hook.after_calls[0].outcome is Outcome.CANCELLED


async def test_a_hook_that_agrees_while_a_senior_thinks_starts_no_clock(swarm: Swarm) -> None:
    """Lease and timeout run from the answer on, with all that was left of them."""
    engine, hook = swarm.engine, Hook(agree=False)
    await engine.register_spawn_hook("h", hook)
    task_id = await swarm.task(attempt_timeout_ms=100_000)
    token = await hooked(swarm)
    await engine.dispatcher.dispatch(token, task_id, EXTERNAL, layers=("main_ai",), lease=timedelta(seconds=10))
    await hook.asked.wait()
    swarm.clock.advance(40)
    key = await engine.query_senior(swarm.operator, task_id, "?")
    await swarm.pass_time(500)
    hook.verdict.set_result(None)

    async def has_agreed() -> bool:
        return (await swarm.attempt(task_id)).phase is Phase.RUNNING

    await eventually(has_agreed)
    await swarm.pass_time(500)
    await engine.resume(key, "go on")

    attempt = await swarm.attempt(task_id)
    assert attempt.lease_expires_at == swarm.clock() + 10_000
    assert attempt.timeout_at == swarm.clock() + 60_000


async def test_automate_needs_no_hook(swarm: Swarm) -> None:
    """An explicit `automate` runs without the hook, though the layer was asked for."""
    task_id = await swarm.task()
    token = await hooked(swarm, kind=OperatorKind.AUTOMATE)
    made, _ = await swarm.engine.dispatcher.dispatch(token, task_id, EXTERNAL, layers=("main_ai",))
    assert made.handle is not None
    assert (await swarm.attempt(task_id)).phase is Phase.RUNNING
