"""The loop's switch: while it is paused nothing starts."""

import asyncio
from datetime import timedelta

from app.domain.attempts import Outcome
from app.domain.errors import (
    InvalidTransition,
    LoopPaused,
)
from app.domain.tasks import Status
from tests.support.scripted import (
    ScriptedSpawner,
)
from tests.support.swarms import EXTERNAL, Swarm, refused, unchanged

HOUR = timedelta(hours=1)
LONG = timedelta(seconds=60)


async def test_a_paused_loop_starts_nothing(swarm: Swarm) -> None:
    """A dispatch without wait is refused; one with wait goes on at resume; pausing twice is no error."""
    engine = swarm.engine
    state = await engine.switch.pause(swarm.senior)
    assert (state.own.paused, state.own.by, state.all.paused) == (True, "senior", False)
    assert await engine.switch.pause(swarm.senior) == state == await engine.switch.state(swarm.senior)
    task_id = await swarm.task()
    await unchanged(swarm, LoopPaused, engine.dispatcher.dispatch(swarm.operator, task_id, EXTERNAL))
    for wait in (None, timedelta(0)):
        dispatching = engine.dispatch_attempt_with(swarm.operator, task_id, ScriptedSpawner(), wait=wait)
        await unchanged(swarm, LoopPaused, dispatching)
    await refused(
        LoopPaused, engine.dispatcher.dispatch(swarm.operator, task_id, EXTERNAL, wait=timedelta(milliseconds=10))
    )
    spec = {"kind": "in_process", "function": "identity"}
    waiting = asyncio.ensure_future(engine.dispatcher.dispatch(swarm.operator, task_id, spec, wait=LONG))
    with_it = asyncio.ensure_future(
        engine.dispatch_attempt_with(swarm.operator, await swarm.task(), engine.dispatcher.build(spec), wait=LONG)
    )
    await asyncio.sleep(0)
    assert (await swarm.row(task_id)).attempt == 0

    await engine.switch.resume(swarm.senior)

    _, outcome = await waiting
    assert outcome is not None
    assert outcome.outcome is (await with_it).outcome is Outcome.PASS
    assert [kind for kind in await swarm.kinds() if kind.startswith("loop")] == ["loop_paused", "loop_resumed"]


async def test_a_paused_loop_refuses_what_cannot_be_first(swarm: Swarm) -> None:
    """A dispatch that the state machine forbids fails at once, without waiting for dispatching to resume."""
    work = await swarm.external()
    await swarm.engine.switch.pause(swarm.senior)
    await refused(
        InvalidTransition, swarm.engine.dispatcher.dispatch(swarm.operator, work.task_id, EXTERNAL, wait=HOUR)
    )
    await swarm.submit(work)
    assert await swarm.status(work.task_id) is Status.PASS
