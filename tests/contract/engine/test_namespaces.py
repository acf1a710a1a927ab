"""What lies in another namespace does not exist: no id, list, queue, feed or switch reaches across."""

import asyncio
from collections.abc import Awaitable, Callable
from datetime import timedelta
from typing import Any

import pytest

from app.domain.access import Role
from app.domain.errors import EngineError, LoopPaused
from app.domain.events import Event
from app.domain.json import Json
from app.domain.questions import Ask
from app.domain.sessions import SessionOptions
from app.domain.tasks import Status, TaskSpec
from app.domain.tokens import CapToken
from app.engine.engine import Engine
from app.engine.ops.task_filters import TaskFilter
from tests.support.swarms import EXTERNAL, Swarm

HOUR = timedelta(hours=1)
ROOT = "shk_" + "r" * 40
ZERO = timedelta(0)

Call = Callable[[Engine, CapToken, str], Awaitable[Any]]


async def attached(swarm: Swarm, role: Role, namespace: str) -> CapToken:
    """A session of this role in a namespace."""
    return await swarm.engine.sessions.attach("somebody", role, HOUR, SessionOptions(), namespace=namespace)


async def asked(swarm: Swarm, token: CapToken) -> tuple[str, str]:
    """A task of this caller that waits for an answer, and the question's key."""
    task = await swarm.engine.start_task(token, TaskSpec(agent="coder", initial_directive="do"))
    await swarm.engine.dispatcher.dispatch(token, task, EXTERNAL)
    question = await swarm.engine.questions.ask(token, Ask(question=Json.of("may I?")), task_id=task)
    return task, question.key


async def refusal(call: Awaitable[Any]) -> EngineError:
    """The error of a call that must be refused."""
    with pytest.raises(EngineError) as caught:
        await call
    return caught.value


ON_TASKS: dict[str, tuple[Role, Call]] = {
    "read": (Role.OPERATOR, lambda e, t, id: e.tasks.read(t, id)),
    "why": (Role.OPERATOR, lambda e, t, id: e.tasks.why(t, id)),
    "poll": (Role.OPERATOR, lambda e, t, id: e.tasks.poll(t, id, ZERO)),
    "watch": (Role.OPERATOR, lambda e, t, id: e.tasks.watch(t, id, HOUR)),
    "cancel": (Role.OPERATOR, lambda e, t, id: e.tasks.cancel(t, id)),
    "post_result": (Role.OPERATOR, lambda e, t, id: e.tasks.post_result(t, id, Json.of(1))),
    "mark": (Role.OPERATOR, lambda e, t, id: e.tasks.mark(t, id, ok=True)),
    "override": (Role.SENIOR, lambda e, t, id: e.tasks.override(t, id, ok=True)),
    "inject": (Role.SENIOR, lambda e, t, id: e.tasks.inject_directive(t, id, "x")),
    "dispatch": (Role.OPERATOR, lambda e, t, id: e.dispatcher.dispatch(t, id, EXTERNAL)),
    "ask": (Role.OPERATOR, lambda e, t, id: e.questions.ask(t, Ask(question=Json.of("?")), task_id=id)),
    "attempts": (Role.OPERATOR, lambda e, t, id: e.attempts.page(t, id)),
    "attempt": (Role.OPERATOR, lambda e, t, id: e.attempts.read(t, id, 1)),
    "outputs": (Role.OPERATOR, lambda e, t, id: e.attempts.outputs(t, id, 1)),
    "output": (Role.OPERATOR, lambda e, t, id: e.attempts.output(t, id, 1, 1)),
    "late": (Role.OPERATOR, lambda e, t, id: e.attempts.late(t, id, 1)),
    "late_result": (Role.OPERATOR, lambda e, t, id: e.attempts.late_result(t, id, 1, 0)),
    "adopt": (Role.OPERATOR, lambda e, t, id: e.attempts.adopt_late(t, id, 1, 0)),
    "mint": (
        Role.OPERATOR,
        lambda e, t, id: e.credentials.mint(t, agent_id="a", role=Role.WORKER, ttl=HOUR, task_id=id),
    ),
}


@pytest.mark.parametrize("name", ON_TASKS)
async def test_a_task_elsewhere_answers_as_one_that_never_was(swarm: Swarm, name: str) -> None:
    """Error and text are those of an unknown id, and nothing happens to the task."""
    role, call = ON_TASKS[name]
    task, _ = await asked(swarm, await attached(swarm, Role.OPERATOR, "here"))
    stranger = await attached(swarm, role, "there")
    before = await swarm.row(task)
    never = "T-" + "0" * len(task.removeprefix("T-"))

    error, unknown = (
        await refusal(call(swarm.engine, stranger, task)),
        await refusal(call(swarm.engine, stranger, never)),
    )

    assert type(error) is type(unknown)
    assert str(error) == str(unknown).replace(never, task)
    assert await swarm.row(task) == before


async def test_a_question_elsewhere_answers_as_one_that_never_was(swarm: Swarm) -> None:
    """Neither reading nor answering nor waiting reaches it."""
    engine = swarm.engine
    _, key = await asked(swarm, await attached(swarm, Role.OPERATOR, "here"))
    stranger = await attached(swarm, Role.SENIOR, "there")
    never = "R-" + "0" * len(key.removeprefix("R-"))
    calls: list[Callable[[str], Awaitable[Any]]] = [
        lambda id: engine.questions.read(stranger, id),
        lambda id: engine.questions.answer(stranger, id, Json.of("yes")),
        lambda id: engine.questions.watch(stranger, id, ZERO),
    ]
    for call in calls:
        error, unknown = await refusal(call(key)), await refusal(call(never))
        assert str(error) == str(unknown).replace(never, key)
    assert not (await engine.questions.page(stranger)).items
    assert await engine.questions.count_open_for(stranger, "any") == 0
    assert await engine.questions.open_for(stranger, "any") == []


async def test_lists_counts_and_resources_are_of_one_namespace(swarm: Swarm) -> None:
    """Whatever is listed, counted or named in one namespace is not in the other."""
    engine = swarm.engine
    here, there = [await attached(swarm, Role.OPERATOR, name) for name in ("here", "there")]
    task, _ = await asked(swarm, here)
    await engine.resources.put(here, "k", Json.of(1))

    assert [item.task.id for item in (await engine.tasks.page(here)).items] == [task]
    assert not (await engine.tasks.page(there)).items
    assert not (await engine.tasks.page(there, TaskFilter(agent="coder", status=Status.SUSPENDED))).items
    assert not (await engine.tasks.page(there, TaskFilter(labels=(("a", "b"),)))).items
    assert not (await engine.tasks.page(there, TaskFilter(parent=task))).items
    assert [session.namespace for session in (await engine.sessions.page(there)).items] == [
        (await engine.sessions.read_own(there)).namespace
    ]
    await refusal(engine.sessions.read(there, (await engine.sessions.read_own(here)).id))
    stats = await engine.reports.stats(there)
    assert (stats["tasks"], stats["questions"], stats["sessions"]["attached"]) == ({}, {}, 1)
    await refusal(engine.resources.read(there, "k"))
    await engine.resources.put(there, "k", Json.of(2))
    assert (await engine.resources.read(here, "k"))[0] == Json.of(1)


async def test_a_queue_in_two_namespaces_is_two_queues(swarm: Swarm) -> None:
    """A claim gets what waits in its own namespace, whatever waits longer elsewhere."""
    engine = swarm.engine
    here, there = [await attached(swarm, Role.OPERATOR, name) for name in ("here", "there")]
    await engine.keys.ensure_root(ROOT)
    tasks: list[str] = []
    for token in (here, there):
        tasks.append(await engine.start_task(token, TaskSpec(agent="coder", initial_directive="do")))
        await engine.dispatcher.dispatch(token, tasks[-1], {"kind": "queue", "queue": "q"})

    async def claimed(namespace: str) -> str | None:
        claim = await engine.workers.claim(ROOT, queue="q", hold=ZERO, namespace=namespace)
        return None if claim is None else claim.payload.task_id

    assert await claimed("there") == tasks[1]
    assert await claimed("there") is None
    assert await claimed("default") is None
    assert await claimed("here") == tasks[0]


async def test_a_stream_has_the_events_of_its_namespace_and_everybodys(swarm: Swarm) -> None:
    """The switch of all is everybody's; that of a namespace, and its tasks, are its own."""
    engine = swarm.engine
    here, there = [await attached(swarm, Role.SENIOR, name) for name in ("here", "there")]
    operator = await attached(swarm, Role.OPERATOR, "there")
    await engine.keys.ensure_root(ROOT)
    mine = (await engine.sessions.read_own(here)).namespace
    async with engine.feed.follow(after=0, namespace=mine) as stream, asyncio.timeout(60):
        await engine.start_task(operator, TaskSpec(agent="coder", initial_directive="do"))
        await engine.switch.pause(there)
        await engine.switch.switch_all(ROOT, paused=True)
        await engine.switch.pause(here)
        kinds: list[tuple[str, int]] = []
        async for event in stream:
            if not isinstance(event, Event):
                continue
            kinds.append((event.kind, event.namespace))
            if kinds[-1] == ("loop_paused", mine):
                break
    assert kinds == [("session_attached", mine), ("loop_paused", 0), ("loop_paused", mine)]


async def test_two_switches_both_have_to_be_on(swarm: Swarm) -> None:
    """A namespace's switch stops that namespace alone; the switch of all stops every one."""
    engine = swarm.engine
    operators = {name: await attached(swarm, Role.OPERATOR, name) for name in ("here", "there")}
    senior = await attached(swarm, Role.SENIOR, "here")
    await engine.keys.ensure_root(ROOT)

    async def starts(name: str) -> bool:
        task = await engine.start_task(operators[name], TaskSpec(agent="coder", initial_directive="do"))
        try:
            await engine.dispatcher.dispatch(operators[name], task, EXTERNAL)
        except LoopPaused:
            return False
        return True

    await engine.switch.pause(senior)
    assert (await starts("here"), await starts("there")) == (False, True)
    await engine.switch.switch_all(ROOT, paused=True)
    assert (await starts("here"), await starts("there")) == (False, False)
    state = await engine.switch.resume(senior)
    assert (state.own.paused, state.all.paused) == (False, True)
    assert not await starts("here")
    await engine.switch.switch_all(ROOT, paused=False)
    assert (await starts("here"), await starts("there")) == (True, True)
