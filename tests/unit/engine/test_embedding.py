"""What programs that embed an engine rely on: engines of their own layers and gate, the feed, exact values."""

import asyncio
import math
from datetime import timedelta

import pytest

from app.domain.access import Role, RoleVerbGate, Verb
from app.domain.attempts import Outcome
from app.domain.errors import InvalidRequest, ResourceNotFound, TokenTaskMismatch
from app.domain.events import Event
from app.domain.sessions import OperatorKind
from app.domain.tasks import TaskSpec
from app.domain.tokens import CapToken
from app.engine.engine import Engine
from app.engine.ops.rules import EngineCfg
from app.engine.sessions import OperatorInfo
from app.spawning.adapters.external import ExternalSpawner
from app.spawning.ports import Exit
from app.spawning.stack import link
from tests.support.backends import Calls, ScriptedBackend, ScriptedHook
from tests.support.swarms import DAY, Swarm, refused

ZERO = timedelta(0)
SPEC = TaskSpec(agent="coder", initial_directive="Do it.")


async def dispatched_inline(engine: Engine, calls: Calls) -> Outcome:
    """Attach with inline objects, and dispatch through the layers that ask them."""
    backend = ScriptedBackend(calls, lambda: Exit(detail="done here"))
    info = OperatorInfo(kind=OperatorKind.MAIN_AI, hook=ScriptedHook(calls), operator=backend)
    token = await engine.attach_with("o", Role.OPERATOR, DAY, info)
    stack = link(ExternalSpawner(), ("main_ai", "operator_delegate"), engine)
    async with asyncio.timeout(30):
        task_id = await engine.start_task(token, SPEC)
        return (await engine.dispatch_attempt_with(token, task_id, stack)).outcome


async def test_a_sub_engine_finds_its_own_registered_objects() -> None:
    """An engine with another's layers asks the hooks and backends that are registered with itself."""
    async with Engine.new() as parent, Engine.new_with_layers(EngineCfg(), parent.layer_registry) as child:
        for engine in (child, parent):
            calls = Calls()
            assert await dispatched_inline(engine, calls) is Outcome.BLOCKED
            await calls.seen("after")
            assert [call[0] for call in calls.made] == ["before", "execute", "after"]


async def test_an_engine_with_another_gate_has_registries_of_its_own() -> None:
    """What is registered with the first is not known to the second; the second's objects are found, by kind too."""
    first = Engine.new()
    await first.register_operator("desk", ScriptedBackend(Calls()))
    second = first.with_gate(RoleVerbGate())

    assert await second.list_operator_ids() == []
    async with second:
        calls = Calls()
        assert await dispatched_inline(second, calls) is Outcome.BLOCKED
        await second.register_operator("desk", ScriptedBackend(calls, lambda: Exit(detail="done")))
        token = await second.attach("o", Role.OPERATOR, DAY)
        task_id = await second.start_task(token, SPEC)
        desk = {"kind": "operator", "backend_id": "desk"}
        _, outcome = await second.dispatcher.dispatch(token, task_id, desk, wait=timedelta(seconds=30))
        assert outcome is not None
        assert outcome.outcome is Outcome.BLOCKED


async def test_a_stream_begins_when_it_is_asked_for(swarm: Swarm) -> None:
    """Everything that is acknowledged after `subscribe` is in the stream, nothing that was acknowledged before."""
    for _ in range(50):
        await swarm.task()
        stream = swarm.engine.subscribe()
        made = [await swarm.task() for _ in range(3)]
        async with stream, asyncio.timeout(30):
            found = [await anext(stream) for _ in made]
        assert [event.task_id for event in found if isinstance(event, Event)] == made


async def test_starting_and_dispatching_are_open_below_the_own_task(swarm: Swarm) -> None:
    """A worker's token passes the ownership gate for both with what descends from its task, and with nothing else."""
    engine = swarm.engine
    work = await swarm.external()
    child = await swarm.external_child(work)
    grandchild = await swarm.child(child)
    stranger = await swarm.task()
    token = await engine.credentials.attempt_token(work.task_id, work.attempt)

    for verb in (Verb.START_TASK, Verb.DISPATCH_ATTEMPT):
        for below in (child.task_id, grandchild):
            await engine.verify_token_for_task(token, verb, below)
        await refused(TokenTaskMismatch, engine.verify_token_for_task(token, verb, stranger))
    for verb in (Verb.FETCH_PROMPT, Verb.POST_RESULT):
        await refused(TokenTaskMismatch, engine.verify_token_for_task(token, verb, child.task_id))


@pytest.mark.parametrize("number", [2**64, -(10**30), 10**400])
async def test_integers_of_any_size_come_back(swarm: Swarm, number: int) -> None:
    """A resource and an answer keep every digit."""
    engine, token = swarm.engine, await reader(swarm)
    await engine.set_resource("wide", {"n": [number]})
    work = await swarm.external()
    key = await engine.query_senior(work.handle, work.task_id, {"n": number})
    await engine.resume(key, number)

    assert await engine.fetch_data(token, "wide") == {"n": [number]}
    assert await engine.await_resume(key, ZERO) == number


@pytest.mark.parametrize("number", [math.nan, math.inf, -math.inf])
async def test_what_is_no_number_is_stored_nowhere(swarm: Swarm, number: float) -> None:
    """A resource and an answer of NaN or infinity are refused, and leave everything as it was."""
    engine = swarm.engine
    work = await swarm.external()
    key = await engine.query_senior(work.handle, work.task_id, "?")

    await refused(InvalidRequest, engine.set_resource("none", [number]))
    await refused(InvalidRequest, engine.resume(key, {"a": number}))
    await refused(ResourceNotFound, engine.fetch_data(await reader(swarm), "none"))
    await engine.resume(key, None)
    assert await engine.await_resume(key, ZERO) is None


async def reader(swarm: Swarm) -> CapToken:
    """A token that may read resources."""
    return await swarm.engine.attach("reader", Role.OPERATOR, DAY)
