"""A registered backend executes attempts, whenever it is there."""

import asyncio
from typing import Any

import pytest

from app.domain.errors import DispatchFailed
from app.domain.json import Json
from app.domain.outputs import Final
from app.spawning.adapters.operator import STARTED, OperatorSpawner, OperatorSpawners
from app.spawning.backends.protocols import OperatorBackend
from app.spawning.backends.registry import Registry
from app.spawning.ports import Control, Exit, Job, SpawnerAdapter
from tests.support.backends import Calls, ScriptedBackend
from tests.support.control import RecordedControl, job

DONE = Exit(final=Final(value=Json.of("done"), ok=True))


@pytest.fixture
def operators() -> Registry[OperatorBackend]:
    """No backend yet."""
    return Registry[OperatorBackend]()


async def test_a_backend_that_returns_an_exit_ends_the_attempt(operators: Registry[OperatorBackend]) -> None:
    """What execute returns is what join returns."""
    operators.register("main", ScriptedBackend(Calls(), lambda: DONE))
    worker = await OperatorSpawner("main", operators).spawn(job(), RecordedControl())

    assert await worker.join() == DONE


async def test_an_attempt_waits_for_its_backend(operators: Registry[OperatorBackend]) -> None:
    """Spawn does not return before somebody is registered."""
    spawning = asyncio.create_task(OperatorSpawner("main", operators).spawn(job(), RecordedControl()))
    await asyncio.sleep(0)
    assert not spawning.done()

    operators.register("main", ScriptedBackend(Calls(), lambda: DONE))
    assert await (await spawning).join() == DONE


async def test_a_dropped_connection_is_asked_again_with_a_fresh_handle(
    operators: Registry[OperatorBackend],
) -> None:
    """The same attempt goes to the next registration, at least once."""
    calls, control = Calls(), RecordedControl()
    first = ScriptedBackend(calls)
    operators.register("main", first)
    worker = await OperatorSpawner("main", operators).spawn(job(), control)
    joining = asyncio.create_task(worker.join())
    await calls.seen("execute")
    first.drop()
    operators.register("main", ScriptedBackend(calls, lambda: DONE))

    assert await joining == DONE
    assert [call[2] for call in calls.made] == control.handles
    assert len(set(control.handles)) == 2


async def test_a_started_worker_is_waited_for_and_remembered(operators: Registry[OperatorBackend]) -> None:
    """None means that it submits by itself; nothing asks the backend again, not even after a restart."""
    calls, control = Calls(), RecordedControl()
    operators.register("main", ScriptedBackend(calls, lambda: None))
    worker = await OperatorSpawner("main", operators).spawn(job(), control)
    joining = asyncio.create_task(worker.join())
    await calls.seen("execute")
    operators.register("main", ScriptedBackend(calls, lambda: None))
    again = await OperatorSpawner("main", operators).rejoin(job(process=Json.of(STARTED)), control)
    rejoining = asyncio.create_task(again.join())
    await asyncio.sleep(0)
    await control.end()

    assert (await joining).final is None
    assert (await rejoining).final is None
    assert control.processes == [STARTED]
    assert [call[0] for call in calls.made] == ["execute"]


async def test_a_restart_asks_again_when_nothing_was_acknowledged(operators: Registry[OperatorBackend]) -> None:
    """Without a record of the start the backend is called, once it is there."""
    worker = await OperatorSpawner("main", operators).rejoin(job(), RecordedControl())
    joining = asyncio.create_task(worker.join())
    operators.register("main", ScriptedBackend(Calls(), lambda: DONE))

    assert await joining == DONE


async def test_a_backend_that_breaks_fails_the_attempt(operators: Registry[OperatorBackend]) -> None:
    """The failure names the backend, the type and the message."""

    def broken() -> Exit | None:
        raise RuntimeError("out of models")

    operators.register("main", ScriptedBackend(Calls(), broken))
    worker = await OperatorSpawner("main", operators).spawn(job(), RecordedControl())

    assert (await worker.join()).detail == "operator 'main': RuntimeError: out of models"


async def test_stop_tells_the_backend(operators: Registry[OperatorBackend]) -> None:
    """A backend that was called gets the cancellation; one that was not gets nothing."""
    calls = Calls()
    operators.register("main", ScriptedBackend(calls, lambda: None))
    spawner = OperatorSpawner("main", operators)
    untouched = await spawner.spawn(job(), RecordedControl())
    await untouched.stop(1)
    assert calls.made == []

    control = RecordedControl()
    worker = await spawner.spawn(job(), control)
    joining = asyncio.create_task(worker.join())
    await calls.seen("execute")
    await worker.stop(1)
    await control.end()
    await joining

    assert [call[0] for call in calls.made] == ["execute", "cancel"]


async def test_stop_waits_no_longer_than_the_grace_period_for_a_backend_that_is_away(
    operators: Registry[OperatorBackend],
) -> None:
    """An absent backend delays nothing, and one that comes back in time gets the cancellation."""
    calls = Calls()
    registration = operators.register("main", ScriptedBackend(calls, lambda: None))
    control = RecordedControl()
    worker = await OperatorSpawner("main", operators).spawn(job(), control)
    joining = asyncio.create_task(worker.join())
    await calls.seen("execute")
    registration.unregister()
    await worker.stop(0.01)
    assert [call[0] for call in calls.made] == ["execute"]

    stopping = asyncio.create_task(worker.stop(10))
    await asyncio.sleep(0)
    operators.register("main", ScriptedBackend(calls, lambda: None))
    await stopping
    await control.end()
    await joining

    assert [call[0] for call in calls.made] == ["execute", "cancel"]


async def test_giving_up_a_join_reaches_a_backend_of_this_process(operators: Registry[OperatorBackend]) -> None:
    """Execute is cancelled when nobody waits for it any more."""
    cancelled, called = asyncio.Event(), asyncio.Event()

    class Patient:
        async def execute(self, job: Job, control: Control) -> Exit | None:
            called.set()
            try:
                await asyncio.Event().wait()
            finally:
                cancelled.set()

        async def cancel(self, job: Job) -> None:
            """Nothing runs elsewhere."""

    operators.register("main", Patient())
    worker = await OperatorSpawner("main", operators).spawn(job(), RecordedControl())
    joining = asyncio.create_task(worker.join())
    await called.wait()
    joining.cancel()
    await asyncio.gather(joining, return_exceptions=True)

    assert cancelled.is_set()


async def test_a_worker_that_submitted_before_its_backend_replied_ends_the_wait(
    operators: Registry[OperatorBackend],
) -> None:
    """The end of the attempt ends the call, and nothing is cancelled behind it."""
    calls, control = Calls(), RecordedControl()
    operators.register("main", ScriptedBackend(calls))
    worker = await OperatorSpawner("main", operators).spawn(job(), control)
    joining = asyncio.create_task(worker.join())
    await calls.seen("execute")
    await control.end()

    assert (await joining).final is None
    assert [call[0] for call in calls.made] == ["execute"]


def test_its_spec_and_properties(operators: Registry[OperatorBackend]) -> None:
    """It outlives the server, has no lease of its own, and can be built again from its spec."""
    build = OperatorSpawners(operators)
    spawner = build({"kind": "operator", "backend_id": "main"})

    assert isinstance(spawner, SpawnerAdapter)
    assert build(spawner.spec).spec == {"kind": "operator", "backend_id": "main"}
    assert (spawner.outlives_server, spawner.leased) == (True, False)


@pytest.mark.parametrize("spec", [{"kind": "operator"}, {"kind": "operator", "backend_id": "x", "queue": "y"}])
def test_a_spec_that_cannot_be_built_is_refused(operators: Registry[OperatorBackend], spec: dict[str, Any]) -> None:
    """A backend id and nothing else."""
    with pytest.raises(DispatchFailed, match="backend_id"):
        OperatorSpawners(operators)(spec)
