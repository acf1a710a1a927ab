"""The engine has what its description promises, under the names that it gives."""

import asyncio
import functools
import inspect
import threading
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import apsw
import pytest

from app.domain.access import Role, RoleVerbGate, Verb
from app.domain.attempts import Phase
from app.domain.errors import (
    LockBusy,
    MaxHoldExceeded,
    RoleViolation,
    StoreUnavailable,
    TaskNotFound,
)
from app.domain.tasks import TaskSpec
from app.domain.tokens import CapToken
from app.engine.engine import Engine
from app.engine.feed import EventStream, Feed
from app.engine.ops.rules import EngineCfg
from app.spawning.adapters.in_process import FunctionJob
from app.spawning.ports import Layer, LayerRegistry
from app.state.policies import HoldPolicy
from app.state.state import State
from app.state.tables import TASKS, get_meta, set_meta
from tests.support.clocks import HandClock
from tests.support.faulty_disk import faulty_disk
from tests.support.swarms import DAY, EXTERNAL, Plan, Swarm, refused
from tests.support.waiting import eventually

PLAIN = {"new", "new_with_layers", "with_gate", "cfg", "signer", "layer_registry", "event_tx", "subscribe"}
PLAIN |= {"start_detach_loop"}

ASYNC = (
    "with_state verify_token verify_token_for_task task_id_from_token task_id_from_handle submit_worker_result_trusted "
    "attach register_senior_bridge register_spawn_hook register_operator unregister_senior_bridge "
    "unregister_spawn_hook unregister_operator list_spawn_hook_ids list_senior_bridge_ids list_operator_ids "
    "attach_with_ids attach_with detach heartbeat start_task read_task_state cancel_task dispatch_attempt_with "
    "fetch_prompt fetch_worker_payload fetch_worker_payload_trusted task_attempt bake_worker_system_prompt fetch_data "
    "submit_output output_tail post_result set_resource query_senior resume await_resume poll_task"
)


def test_every_method_is_there() -> None:
    """All 47 methods exist: what waits is a coroutine function, constructors, properties and streams are plain."""
    waiting = ASYNC.split()

    assert len(PLAIN | set(waiting)) == 47
    assert [name for name in waiting if not inspect.iscoroutinefunction(getattr(Engine, name, None))] == []
    assert [name for name in PLAIN if inspect.iscoroutinefunction(inspect.getattr_static(Engine, name))] == []


class Mark(Layer):
    """A layer to be found again."""

    key = "mark"


async def test_constructors_give_what_they_were_given() -> None:
    """`cfg`, `layer_registry` and `signer` are those that the engine was built with."""
    cfg, layers = EngineCfg(max_spawn_depth=7), LayerRegistry(hints=[Mark()])

    engine = Engine.new_with_layers(cfg, layers)

    assert engine.cfg is cfg
    assert engine.layer_registry is layers
    assert engine.signer.key_ids
    assert Engine.new().cfg == EngineCfg()
    assert isinstance(Engine.new().event_tx, Feed)


async def test_with_gate_starts_from_nothing(swarm: Swarm) -> None:
    """Another gate makes another engine with an empty state; the first one goes on unchanged."""
    task_id = await swarm.task()
    other = swarm.engine.with_gate(RoleVerbGate().denying(Role.OPERATOR, Verb.START_TASK))

    async with other:
        await refused(TaskNotFound, other.tasks.find(task_id))
        token = await other.attach("o", Role.OPERATOR, DAY)
        await refused(RoleViolation, other.start_task(token, TaskSpec(agent="a", initial_directive="b")))

    assert (await swarm.engine.tasks.find(task_id)).id == task_id
    await swarm.task()


async def test_subscribe_follows_what_happens(swarm: Swarm) -> None:
    """A stream gives the events after its start in order, and ends when it is closed."""
    async with swarm.engine.subscribe() as stream:
        assert isinstance(stream, EventStream)
        await stream.open()
        task_id = await swarm.task()
        event = await anext(stream)

    assert (event.kind, event.task_id) == ("task_created", task_id)  # pyright: ignore[reportAttributeAccessIssue] - nobody lags here
    with pytest.raises(StopAsyncIteration):
        await anext(stream)


# with_state


async def test_with_state_commits_everything(swarm: Swarm) -> None:
    """What the function wrote is there afterwards, and its value is returned."""

    def run(state: State) -> str:
        set_meta(state.db, "note", "written")
        return "answer"

    assert await swarm.engine.with_state("note", run) == "answer"
    assert await swarm.engine.store.read(lambda s: get_meta(s.db, "note")) == "written"


async def test_with_state_commits_nothing_of_a_failure(swarm: Swarm) -> None:
    """An exception takes everything back, and what was to be woken or sent with it."""
    head = await swarm.engine.event_tx.head()

    def run(state: State) -> None:
        set_meta(state.db, "note", "written")
        TASKS.update(state.db, "none", agent="x")
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await swarm.engine.with_state("note", run)

    assert await swarm.engine.store.read(lambda s: get_meta(s.db, "note")) is None
    assert await swarm.engine.event_tx.head() == head


async def test_with_state_refuses_whatever_waits(swarm: Swarm) -> None:
    """No kind of coroutine function gets in, however it is wrapped, and nothing of it is kept."""

    async def waits(state: State) -> None:
        set_meta(state.db, "note", "written")

    def hides(state: State) -> object:
        set_meta(state.db, "note", "written")
        return waits(state)

    for fn in (waits, functools.partial(waits), hides):
        with pytest.raises(TypeError):
            await swarm.engine.with_state("wait", fn)
    assert await swarm.engine.store.read(lambda s: get_meta(s.db, "note")) is None


async def test_with_state_is_not_held_for_long(clock: HandClock) -> None:
    """Longer than `max_hold` is refused under `max_hold_panic`, and nothing of it is kept."""
    cfg = EngineCfg(hold=HoldPolicy(max_hold_ms=0.0, max_hold_panic=True))
    async with Plan(store_url=":memory:", clock=clock).engine() as engine:
        error = await refused(
            MaxHoldExceeded,
            engine.with_state("slow", lambda s: set_meta(s.db, "note", "written"), policy=cfg.hold),
        )
        assert error.op == "slow"
        assert await engine.store.read(lambda s: get_meta(s.db, "note")) is None


async def test_with_state_under_try_only_does_not_wait(tmp_path: Path, clock: HandClock) -> None:
    """While a bulk operation holds the state, `try_only` raises LockBusy at once."""
    entered, release = threading.Event(), threading.Event()

    def hold(state: State) -> None:
        entered.set()
        assert release.wait(60)

    async with Plan(store_url=f"sqlite:///{tmp_path}/a.db", clock=clock).engine() as engine:
        held = asyncio.ensure_future(engine.store.transact("bulk", hold, bulk=True))
        await eventually(entered.is_set)
        error = await refused(LockBusy, engine.with_state("mine", lambda s: None, policy=HoldPolicy.strict()))
        release.set()
        await held
    assert error.op == "mine"


CALLS: dict[str, Callable[[Engine, CapToken], Any]] = {
    "with_state": lambda engine, token: engine.with_state("note", lambda s: set_meta(s.db, "note", "written")),
    "verify_token": lambda engine, token: engine.verify_token(token, Verb.START_TASK),
    "attach": lambda engine, token: engine.attach("other", Role.OPERATOR, DAY),
    "heartbeat": lambda engine, token: engine.heartbeat(token),
    "detach": lambda engine, token: engine.detach(token),
    "start_task": lambda engine, token: engine.start_task(token, TaskSpec(agent="a", initial_directive="b")),
    "read_task_state": lambda engine, token: engine.read_task_state(token, "task"),
    "cancel_task": lambda engine, token: engine.cancel_task(token, "task"),
    "dispatch": lambda engine, token: engine.dispatcher.dispatch(token, "task", EXTERNAL),
    "fetch_worker_payload_trusted": lambda engine, token: engine.fetch_worker_payload_trusted("task"),
    "fetch_data": lambda engine, token: engine.fetch_data(token, "key"),
    "task_attempt": lambda engine, token: engine.task_attempt("task"),
    "output_tail": lambda engine, token: engine.output_tail("task", 1),
    "set_resource": lambda engine, token: engine.set_resource("key", 1),
    "resume": lambda engine, token: engine.resume("key", 1),
    "poll_task": lambda engine, token: engine.poll_task(token, "task", timedelta(hours=1)),
    "join": lambda engine, token: engine.dispatcher.join("task", 1, None),
    "head": lambda engine, token: engine.event_tx.head(),
    "check": lambda engine, token: engine.check(),
}


@pytest.mark.parametrize("name", CALLS)
async def test_a_stopped_engine_refuses_every_call(plan: Plan, name: str) -> None:
    """After `stop` reads and writes raise StoreUnavailable, and stopping twice is no error."""
    engine = plan.engine()
    async with engine:
        token = await engine.attach("o", Role.OPERATOR, DAY)

    await engine.stop()

    async with asyncio.timeout(60):
        await refused(StoreUnavailable, CALLS[name](engine, token))


async def test_stopping_wakes_whoever_waits(plan: Plan) -> None:
    """A parked poll does not outlive its engine."""
    engine = plan.engine()
    await engine.start()
    swarm = await Swarm.over(engine, plan)
    work = await swarm.external()
    parked = asyncio.ensure_future(engine.poll_task(swarm.operator, work.task_id, timedelta(hours=1)))
    joined = asyncio.ensure_future(engine.dispatcher.join(work.task_id, 1, None))
    await asyncio.sleep(0)

    async with asyncio.timeout(60):
        await engine.stop()
        for waiting in (parked, joined):
            await refused(StoreUnavailable, waiting)


async def test_starting_twice_changes_nothing(swarm: Swarm) -> None:
    """A second start of a running engine leaves its running attempts alone: none is recovered or started again."""
    starts: list[str] = []
    release = asyncio.Event()

    async def work(job: FunctionJob) -> str:
        starts.append(job.task_id)
        await release.wait()
        return "done"

    swarm.plan.functions.register("work", work)
    task_id = await swarm.task()
    await swarm.engine.dispatcher.dispatch(swarm.operator, task_id, {"kind": "in_process", "function": "work"})

    async def running() -> bool:
        return (await swarm.attempt(task_id)).phase is Phase.RUNNING

    await eventually(running)

    await swarm.engine.start()
    attempt = await swarm.attempt(task_id)
    release.set()
    await swarm.engine.dispatcher.join(task_id, 1, None)

    assert (attempt.epoch, attempt.phase) == (1, Phase.RUNNING)
    assert starts == [task_id]


async def test_check_fails_while_the_disk_does(tmp_path: Path, clock: HandClock) -> None:
    """A store that cannot be written raises StoreUnavailable; one that can be read and written passes."""
    with faulty_disk() as disk:
        async with Plan(store_url=f"sqlite:///{tmp_path}/a.db", clock=clock).engine() as engine:
            disk.fail(0, apsw.IOError)
            await refused(StoreUnavailable, engine.attach("o", Role.OPERATOR, DAY))
            await refused(StoreUnavailable, engine.check())
            disk.heal()
            await engine.check()


# The detach loop


async def test_the_detach_loop_marks_the_silent(plan: Plan, clock: HandClock) -> None:
    """A session that misses its heartbeats is detached by the running loop; the task stays, and can be cancelled."""
    plan = replace(plan, cfg=replace(plan.cfg, heartbeat_interval_ms=1, heartbeat_miss_threshold=2))
    async with plan.engine() as engine:
        token = await engine.attach("o", Role.OPERATOR, DAY)
        clock.advance(1)
        async with engine.subscribe(after=0, kinds=frozenset({"session_detached"})) as stream, asyncio.timeout(60):
            loop = engine.start_detach_loop()
            await anext(stream)
        assert not (await engine.sessions.read_own(token)).attached
        loop.cancel()
        await asyncio.wait({loop})
        assert loop.cancelled()


async def test_stopping_ends_the_detach_loop(plan: Plan) -> None:
    """The engine owns its loops."""
    async with plan.engine() as engine:
        loop = engine.start_detach_loop()
    assert loop.done()
