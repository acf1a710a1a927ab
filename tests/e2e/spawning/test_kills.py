"""Every spawner × kill -9 of the server in each phase of an attempt, and what the next server makes of it.

| phase | external, queue, operator, http | in_process, process |
|---|---|---|
| waiting for its hook | the hook is asked again, then all goes on | the same: nothing was started |
| queued, spawning | waits on, is asked again under the same attempt | (they are started at once) |
| running | same attempt, same handle, nothing run again | lost; reaped; tried again by its policy |
| suspended by a question | the answer goes to the same worker | the answer blocks it, or goes to the next attempt |
| held for a senior | the answer decides | the same: its Final is safe |
| finishing | the hook is notified of the end | the same |
| ended, its worker being stopped | is asked to stop again | reaped |

Several attempts share one kill. Workers are real and live elsewhere, so that they see the server die and come back.
"""

import asyncio
from collections.abc import AsyncIterator, Iterable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from swarmhold.models.attempts import DispatchOutcome
from swarmhold.models.enums import OnDeadline, Outcome, Phase, Status
from tests.support.rigs.inside import ChildWorker
from tests.support.rigs.replying import HttpReplyRig, OperatorReplyRig
from tests.support.rigs.rig import ControlledWorker, Rig
from tests.support.rigs.stage import CANCELLED, FAILED, LOST, PASSED, TIMED_OUT, UNANSWERED, Stage, conflict, open_stage
from tests.support.rigs.table import RIGS
from tests.support.waiting import eventually

STOPPING_S = 1.0

INSIDE = [name for name, rig in RIGS.items() if not rig.outlives]


@pytest.fixture
def database(request: pytest.FixtureRequest) -> dict[str, str]:
    """The settings of the server's store: SQLite, or PostgreSQL when asked for."""
    return {"SWARMHOLD_DATABASE_URL": request.getfixturevalue("postgres_url")} if hasattr(request, "param") else {}


@pytest.fixture
async def stage(database: dict[str, str], tmp_path: Path) -> AsyncIterator[Stage]:
    """A server of the test's own, with a connected backend."""
    async with open_stage(tmp_path, SWARMHOLD_ENGINE__STOP_GRACE=str(STOPPING_S), **database) as made:
        await made.connect()
        yield made


@dataclass(frozen=True, slots=True)
class Cell:
    """One spawner in one phase."""

    name: str
    rig: Rig
    task_id: str

    async def worker(self, attempt: int = 1) -> ControlledWorker:
        """Its worker."""
        return await self.rig.running(self.task_id, attempt)


async def cells(stage: Stage, names: Iterable[str] = RIGS, **task: Any) -> list[Cell]:
    """A task for each of these spawners."""
    return [Cell(name, RIGS[name](stage), await stage.task(f"by {name}", **task)) for name in names]


async def at_work(
    stage: Stage, names: Iterable[str] = RIGS, *, layers: Iterable[str] = (), **task: Any
) -> list[tuple[Cell, ControlledWorker]]:
    """The same, dispatched and with workers at work."""
    made = await cells(stage, names, **task)
    for cell in made:
        await cell.rig.dispatch(cell.task_id, layers=list(layers))
    return [(cell, await cell.worker()) for cell in made]


async def power_cut(stage: Stage) -> None:
    """Kill the server and start it again on what it left."""
    await stage.kill()
    await stage.start_again()


def asked_once_more(stage: Stage, cell: Cell) -> int:
    """How often its worker was asked for besides the first time."""
    key = cell.task_id, 1
    handles = stage.backend.handles.get(key) or (stage.site.posted[key].handles if key in stage.site.posted else [])
    return max(0, len(handles) - 1)


async def test_while_its_hook_has_not_agreed(stage: Stage) -> None:
    """The hook is asked again by the next server; nobody had been started, so nobody is lost."""
    waiting = await cells(stage)
    for cell in waiting:
        stage.backend.hooks.shut("before", cell.task_id)
        await cell.rig.dispatch(cell.task_id, layers=["main_ai"])
    for cell in waiting:
        await eventually(lambda cell=cell: ("before", cell.task_id) in stage.backend.hooks.arrived)
        await stage.phase(cell.task_id, Phase.WAITING)
    await power_cut(stage)
    for cell in waiting:
        assert (await stage.operator.attempt(cell.task_id, 1)).phase is Phase.WAITING
        stage.backend.hooks.open("before", cell.task_id, None)

    for cell in waiting:
        worker = await cell.worker()
        await worker.finish(cell.name)
        task = await stage.over(cell.task_id, Status.PASS, PASSED)
        await stage.dead(worker.handle, PASSED)
        assert task.last_result == cell.name
        assert asked_once_more(stage, cell) == 0


async def test_before_its_worker_has_it(stage: Stage) -> None:
    """In its queue, with its backend away, or asked for without a reply: it goes on there under the same number."""
    queued, away, unacknowledged, unanswered = await cells(stage, ["queue", "operator", "operator", "http"])
    stage.backend.spawns.shut("spawn", unacknowledged.task_id)
    stage.site.gates.shut("post", unanswered.task_id)
    for cell in (queued, unacknowledged, unanswered):
        await cell.rig.dispatch(cell.task_id)
    first = [await cell.rig.worker(cell.task_id) for cell in (unacknowledged, unanswered)]
    await stage.disconnect()
    await away.rig.dispatch(away.task_id)
    phases = {queued: Phase.QUEUED, away: Phase.SPAWNING, unanswered: Phase.SPAWNING}
    for cell, phase in phases.items():
        await stage.phase(cell.task_id, phase)
    await power_cut(stage)
    for cell, phase in phases.items():
        assert (await stage.operator.attempt(cell.task_id, 1)).phase is phase
    stage.backend.spawns.open("spawn", unacknowledged.task_id, None)
    stage.site.gates.open("post", unanswered.task_id, (202, None))
    await stage.connect()

    for cell in (queued, away, unacknowledged, unanswered):
        worker = await cell.worker()
        await worker.finish(cell.name)
        await stage.over(cell.task_id, Status.PASS, PASSED)
        await stage.dead(worker.handle, PASSED)
    assert [asked_once_more(stage, cell) for cell in (queued, away, unacknowledged, unanswered)] == [0, 0, 1, 1]
    for worker in first:
        await stage.dead(worker.handle, PASSED)


async def test_right_after_its_dispatch(stage: Stage) -> None:
    """Wherever the server was with it: outside the next one begins it, inside it is lost, and nothing is doubled."""
    dispatched = [cell for _ in range(3) for cell in await cells(stage)]
    await asyncio.gather(*(cell.rig.dispatch(cell.task_id) for cell in dispatched))
    await power_cut(stage)

    for cell in dispatched:
        if not cell.rig.outlives:
            await stage.over(cell.task_id, Status.BLOCKED, LOST)
            continue
        await (await cell.worker()).finish(cell.name)
        await stage.over(cell.task_id, Status.PASS, PASSED)
        assert asked_once_more(stage, cell) <= 1


async def test_behind_a_hook_that_has_agreed(stage: Stage) -> None:
    """What is queued or requested by then waits on, with its hook, and so do the waits for its outcome."""
    queued, unanswered = await cells(stage, ["queue", "http-replying"])
    stage.site.gates.shut("post", unanswered.task_id)
    waiting = [
        asyncio.create_task(
            stage.operator.dispatch_and_wait(
                cell.task_id, cell.rig.spawner(cell.task_id), layers=["main_ai"], wait=timedelta(seconds=30)
            )
        )
        for cell in (queued, unanswered)
    ]
    await stage.phase(queued.task_id, Phase.QUEUED)
    await stage.phase(unanswered.task_id, Phase.SPAWNING)
    await unanswered.worker()
    await power_cut(stage)

    for cell, outcome in zip((queued, unanswered), waiting, strict=True):
        worker = await cell.worker()
        await stage.worker(worker.handle).progress("at work")
        await worker.finish(cell.name)
        found = await outcome
        assert isinstance(found, DispatchOutcome)
        assert (found.outcome, found.value) == (Outcome.PASS, cell.name)
        await stage.over(cell.task_id, Status.PASS, PASSED)
        assert stage.backend.ends.count((cell.task_id, 1, "pass")) == 1


async def test_while_a_backend_has_what_was_meant_for_others(stage: Stage) -> None:
    """Whatever spawner was dispatched, the attempt is the backend's and goes on with it: nothing else is started."""
    delegated = [cell for cell in await cells(stage) if cell.rig.kind != "operator"]
    backend = RIGS["operator"](stage)
    for cell in delegated:
        await stage.operator.dispatch(cell.task_id, cell.rig.spawner(cell.task_id), layers=["operator_delegate"])
    workers = [await backend.running(cell.task_id) for cell in delegated]
    await power_cut(stage)

    for cell, worker in zip(delegated, workers, strict=True):
        await worker.finish(cell.name)
        await stage.over(cell.task_id, Status.PASS, PASSED)
        await stage.dead(worker.handle, PASSED)
        assert asked_once_more(stage, cell) == 0
        assert not stage.control_server.has(cell.task_id, 1)
        assert (cell.task_id, 1) not in stage.site.posted
    assert stage.backend.cancelled == []


async def test_while_its_worker_has_it(stage: Stage) -> None:
    """Outside nobody notices; inside it is lost, with all that a child leaves behind, and tried again if it may be."""
    await killed_at_work(stage)


@pytest.mark.parametrize("database", ["postgres"], indirect=True)
async def test_while_its_worker_has_it_over_postgres(stage: Stage) -> None:
    """A restart finds every attempt in PostgreSQL as it does in SQLite."""
    await killed_at_work(stage)


async def killed_at_work(stage: Stage) -> None:
    """The whole of it."""
    working = await at_work(stage)
    tried_again = await at_work(stage, INSIDE, retry_on=["lost"])
    hooked = await at_work(stage, INSIDE, layers=["main_ai"])
    children = [worker for _, worker in (*working, *tried_again, *hooked) if isinstance(worker, ChildWorker)]
    for worker in children:
        assert len(await worker.start_children()) == 2
        await worker.ignore_sigterm()
    await power_cut(stage)

    for cell, worker in working:
        if not cell.rig.outlives:
            await worker.stop_noticed()
            task = await stage.over(cell.task_id, Status.BLOCKED, LOST)
            await stage.dead(worker.handle, LOST)
            assert task.last_result["reason"] == "lost"
            continue
        assert (await stage.worker(worker.handle).prompt()).attempt == 1
        await worker.finish(cell.name)
        await stage.over(cell.task_id, Status.PASS, PASSED)
        await stage.dead(worker.handle, PASSED)
        assert asked_once_more(stage, cell) == isinstance(cell.rig, OperatorReplyRig | HttpReplyRig)
    for cell, worker in tried_again:
        await worker.stop_noticed()
        await (await cell.worker(attempt=2)).finish("at last")
        await stage.over(cell.task_id, Status.PASS, LOST, PASSED)
        await conflict("attempt-superseded", stage.worker(worker.handle).submit("too late"))
    for cell, _ in hooked:
        await stage.over(cell.task_id, Status.BLOCKED, LOST)
        assert stage.backend.ends.count((cell.task_id, 1, "blocked")) == 1


async def test_while_a_senior_thinks(stage: Stage) -> None:
    """The answer reaches the same worker; where that died, it blocks the task or goes to the next attempt."""
    asking = [(*pair, False) for pair in await at_work(stage)]
    asking += [(*pair, True) for pair in await at_work(stage, INSIDE, retry_on=["lost"])]
    keys = {cell.task_id: (await stage.worker(worker.handle).ask("May I?")).key for cell, worker, _ in asking}
    await power_cut(stage)
    for cell, _, _ in asking:
        task = await stage.operator.task(cell.task_id)
        assert (task.status, task.suspended_on, task.attempt) == (Status.SUSPENDED, [keys[cell.task_id]], 1)
        await stage.senior.answer(keys[cell.task_id], "you may")

    for cell, worker, again in asking:
        if cell.rig.outlives:
            assert await stage.worker(worker.handle).await_answer(keys[cell.task_id]) == "you may"
            await worker.finish(cell.name)
            await stage.over(cell.task_id, Status.PASS, PASSED)
            await stage.dead(worker.handle, PASSED)
            continue
        if again:
            second = await cell.worker(attempt=2)
            answers = (await stage.worker(second.handle).prompt()).answers
            assert [answer.answer for answer in answers] == ["you may"]
            await second.finish("at last")
        ends = [LOST, PASSED] if again else [LOST]
        await stage.over(cell.task_id, Status.PASS if again else Status.BLOCKED, *ends)
        await worker.stop_noticed()


async def test_while_its_final_is_held(stage: Stage) -> None:
    """The Final is safe and nothing is run again: the answer makes it good, or lets it stand."""
    layers = ["senior_escalation"]
    forgiven, upheld = await at_work(stage, layers=layers), await at_work(stage, layers=layers)
    for _, worker in (*forgiven, *upheld):
        await worker.finish("no luck", ok=False)
    for cell, _ in (*forgiven, *upheld):
        await stage.phase(cell.task_id, Phase.HELD)
    await power_cut(stage)
    for cell, answer in [(cell, "well done") for cell, _ in forgiven] + [
        (cell, {"uphold": True}) for cell, _ in upheld
    ]:
        task = await stage.settled(cell.task_id)
        assert (task.status, task.attempt) == (Status.SUSPENDED, 1)
        assert (await stage.operator.attempt(cell.task_id, 1)).phase is Phase.HELD
        await stage.senior.answer(task.suspended_on[0], answer)

    for cell, worker in forgiven:
        task = await stage.over(cell.task_id, Status.PASS, PASSED)
        await stage.dead(worker.handle, PASSED)
        assert task.last_result == {"original": "no luck", "senior_answer": "well done"}
    for cell, worker in upheld:
        task = await stage.over(cell.task_id, Status.BLOCKED, FAILED)
        await stage.dead(worker.handle, FAILED)
        assert task.last_result == "no luck"
    assert {cell.name: asked_once_more(stage, cell) for cell, _ in forgiven} == dict.fromkeys(RIGS, 0)


async def test_while_its_layers_finish(stage: Stage) -> None:
    """The task is settled; the next server notifies the hook of the end."""
    finishing = await at_work(stage, layers=["main_ai"])
    for cell, worker in finishing:
        stage.backend.hooks.shut("after", cell.task_id)
        await worker.finish(cell.name)
    for cell, _ in finishing:
        await stage.phase(cell.task_id, Phase.FINISHING)
        await eventually(lambda cell=cell: ("after", cell.task_id) in stage.backend.hooks.arrived)
    await power_cut(stage)
    for cell, _ in finishing:
        assert (await stage.operator.task(cell.task_id)).status is Status.PASS
        assert (await stage.operator.attempt(cell.task_id, 1)).phase is Phase.FINISHING
        stage.backend.hooks.open("after", cell.task_id, None)

    for cell, worker in finishing:
        task = await stage.over(cell.task_id, Status.PASS, PASSED)
        await stage.dead(worker.handle, PASSED)
        assert task.last_result == cell.name
        assert stage.backend.ends.count((cell.task_id, 1, "pass")) == 1
        assert asked_once_more(stage, cell) == 0


async def test_while_its_worker_is_being_stopped(stage: Stage) -> None:
    """A child that would not go is gone all the same; a backend that was away is asked to cancel its attempt.

    So does one that is at work since the server before, whether or not it had acknowledged.
    """
    [(child, worker)] = await at_work(stage, ["process"])
    [(behind, _)] = await at_work(stage, ["operator"])
    still_at_work = await at_work(stage, ["operator", "operator-replying"])
    assert isinstance(worker, ChildWorker)
    await worker.start_children()
    await worker.ignore_sigterm()
    await stage.disconnect()
    for cell in (child, behind):
        await stage.operator.cancel(cell.task_id)
    await power_cut(stage)
    for cell, _ in still_at_work:
        await stage.operator.cancel(cell.task_id)
    await stage.connect()

    await worker.stop_noticed()
    for _, other in still_at_work:
        await other.stop_noticed()
        await stage.dead(other.handle, CANCELLED)
    await eventually(
        lambda: (behind.task_id, 1) in stage.backend.cancelled, awaited="the backend to be asked to cancel"
    )
    for cell in (child, behind, *(cell for cell, _ in still_at_work)):
        await stage.over(cell.task_id, Status.CANCELLED, CANCELLED)


async def test_while_a_child_that_has_submitted_lingers(stage: Stage) -> None:
    """It submitted by its handle; the next server ends what is left of it, whatever the layers still do."""
    working = [
        pair
        for layer in ([], ["senior_escalation"], ["main_ai"])
        for pair in await at_work(stage, ["process"], layers=layer)
    ]
    for _, worker in working:
        assert isinstance(worker, ChildWorker)
        await worker.start_children()
        await worker.ignore_sigterm()
    for _, worker in working:
        await stage.worker(worker.handle).submit("no luck", ok=False)
    await power_cut(stage)

    for cell, worker in working:
        await worker.stop_noticed()
        await stage.nothing_alive(cell.task_id, 1)
        for key in (await stage.settled(cell.task_id)).suspended_on:
            await stage.senior.answer(key, {"uphold": True})
        await stage.over(cell.task_id, Status.BLOCKED, FAILED)


async def test_while_no_server_was_there(stage: Stage) -> None:
    """No heartbeat could arrive, so that leases begin anew; timeouts and deadlines went on."""
    [(asking, asker)] = await at_work(stage, ["external"])
    [(timed, _)] = await at_work(stage, ["external"], timeout=3.0)
    soon = datetime.now(UTC) + timedelta(seconds=3.0)
    await stage.worker(asker.handle).ask("May I?", deadline=soon, on_deadline=OnDeadline.BLOCK)
    [leased] = await cells(stage, ["external"])
    await leased.rig.dispatch(leased.task_id, lease=5.0)
    worker = await leased.worker()
    await stage.kill()
    late = datetime.now(UTC) + timedelta(seconds=5.0)
    await eventually(lambda: datetime.now(UTC) > late, awaited="all clocks to run out")
    await stage.start_again()

    assert not (await stage.worker(worker.handle).heartbeat()).cancelled
    await worker.finish("still here")
    await stage.over(leased.task_id, Status.PASS, PASSED)
    await stage.over(timed.task_id, Status.BLOCKED, TIMED_OUT)
    await stage.over(asking.task_id, Status.BLOCKED, UNANSWERED)


async def test_a_server_that_is_stopped_in_good_order(stage: Stage) -> None:
    """It takes what it runs with it; what runs elsewhere goes on as after a kill, and is not asked to stop."""
    working = await at_work(stage)
    for _, worker in working:
        if isinstance(worker, ChildWorker):
            await worker.start_children()
    await stage.stop()
    for cell, worker in working:
        if not cell.rig.outlives:
            await worker.stop_noticed()
            await stage.nothing_alive(cell.task_id, 1)
    await stage.start_again()

    for cell, worker in working:
        if not cell.rig.outlives:
            await stage.over(cell.task_id, Status.BLOCKED, LOST)
            continue
        await worker.finish(cell.name)
        await stage.over(cell.task_id, Status.PASS, PASSED)
    assert stage.backend.cancelled == []
