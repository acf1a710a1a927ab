"""What cannot start, what is not there yet, and what a child leaves behind, against a real server."""

import pytest

from swarmhold import ApiProblem
from swarmhold.models.enums import Phase, Status
from swarmhold.models.spawners import HttpSpawner, InProcessSpawner, ProcessSpawner
from tests.support.rigs.inside import ChildRig, ChildWorker
from tests.support.rigs.outside import ExternalRig, HttpRig, OperatorRig, QueueRig
from tests.support.rigs.stage import BROKE, CANCELLED, FAILED, NOT_STARTED, PASSED, TIMED_OUT, Stage

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest.mark.parametrize(
    "spawner",
    [
        InProcessSpawner(function="unknown"),
        ProcessSpawner(program="unknown"),
        ProcessSpawner(program="child", args=("not", "allowed")),
        HttpSpawner(url="http://127.0.0.1:1/elsewhere"),
    ],
    ids=["function", "program", "arguments", "url"],
)
async def test_what_the_settings_do_not_name_is_refused(
    stage: Stage, spawner: InProcessSpawner | ProcessSpawner | HttpSpawner
) -> None:
    """With 422, and the task is as it was."""
    task_id = await stage.task()
    with pytest.raises(ApiProblem) as refused:
        await stage.operator.dispatch(task_id, spawner)

    assert (refused.value.status, refused.value.code) == (422, "dispatch-failed")
    task = await stage.operator.task(task_id)
    assert (task.status, task.attempt) == (Status.PENDING, 0)


async def test_where_nothing_is_started_nothing_fails_to_start(stage: Stage) -> None:
    """A worker outside has the attempt at once; one that waits for a claim waits without a clock."""
    outside, queued = await stage.task(), await stage.task(timeout=0.1)
    await ExternalRig(stage).dispatch(outside)
    await QueueRig(stage).dispatch(queued, lease=0.1)

    assert (await stage.operator.attempt(outside, 1)).phase is Phase.RUNNING
    attempt = await stage.operator.attempt(queued, 1)
    assert (attempt.phase, attempt.timeout_at) == (Phase.QUEUED, None)
    assert {link.kind for link in (await stage.operator.why(queued)).chain} == {"attempt", "workers"}
    await stage.operator.cancel(outside)
    await stage.operator.cancel(queued)


async def test_a_program_that_cannot_be_run_blocks(stage: Stage) -> None:
    """The settings name it, the system does not know it."""
    task_id = await stage.task()
    await stage.operator.dispatch(task_id, ProcessSpawner(program="gone"))

    task = await stage.over(task_id, Status.BLOCKED, NOT_STARTED)
    assert "No such file" in str(task.last_result)


async def test_a_backend_that_cannot_start_a_worker_blocks(stage: Stage) -> None:
    """Its acknowledgement says why."""
    rig, task_id = OperatorRig(stage), await stage.task()
    stage.backend.spawns.shut("spawn", task_id)
    stage.backend.spawns.open("spawn", task_id, RuntimeError("no room"))
    await rig.dispatch(task_id)

    task = await stage.over(task_id, Status.BLOCKED, BROKE)
    assert "no room" in str(task.last_result)
    await stage.dead(stage.backend.handles[task_id, 1][0], BROKE)


@pytest.mark.parametrize("how", ["cancelled", "timeout"])
async def test_what_waits_for_a_backend_ends_without_it(stage: Stage, how: str) -> None:
    """It is not asked for it when it comes."""
    task_id = await stage.task(timeout=2.0 if how == "timeout" else None)
    await stage.disconnect()
    await OperatorRig(stage).dispatch(task_id)
    await stage.phase(task_id, Phase.SPAWNING)
    if how == "cancelled":
        await stage.operator.cancel(task_id)
    ends = (Status.CANCELLED, CANCELLED) if how == "cancelled" else (Status.BLOCKED, TIMED_OUT)
    await stage.over(task_id, *ends)
    await stage.connect()
    other = await OperatorRig(stage).begin(await stage.task())
    await other.finish("the connection is there")

    await stage.over(other.task_id, Status.PASS, PASSED)
    await stage.over(task_id, *ends)
    assert not stage.started(task_id)
    assert (task_id, 1) not in stage.backend.cancelled


async def test_a_backend_that_comes_back_is_not_asked_for_what_is_held(stage: Stage) -> None:
    """It had not acknowledged, but the worker that it started has had its last word."""
    rig, task_id = OperatorRig(stage), await stage.task()
    stage.backend.spawns.shut("spawn", task_id)
    worker = await rig.begin(task_id, layers=["senior_escalation"])
    await worker.finish("no luck", ok=False)
    await stage.phase(task_id, Phase.HELD)
    await stage.disconnect()
    await stage.connect()
    other = await rig.begin(await stage.task())
    await other.finish("the connection is there")
    await stage.over(other.task_id, Status.PASS, PASSED)
    [key] = (await stage.operator.task(task_id)).suspended_on
    await stage.senior.answer(key, {"uphold": True})

    await stage.over(task_id, Status.BLOCKED, FAILED)
    assert len(stage.backend.handles[task_id, 1]) == 1


@pytest.mark.parametrize(("status", "posts"), [(404, 1), (302, 1), (503, 2), (0, 2)])
async def test_a_site_that_does_not_take_the_attempt_blocks(stage: Stage, status: int, posts: int) -> None:
    """A refusal counts at once; what may pass is tried again, under the same key, as often as the settings say."""
    rig, task_id = HttpRig(stage), await stage.task()
    stage.site.gates.shut("post", task_id)
    stage.site.gates.open("post", task_id, (status, None))
    await rig.dispatch(task_id)

    await stage.over(task_id, Status.BLOCKED, NOT_STARTED)
    assert len(stage.site.posted[task_id, 1].handles) == posts
    await stage.dead(stage.site.posted[task_id, 1].handles[0], NOT_STARTED)


# --- What a child leaves behind --------------------------------------------------------------------------------------


@pytest.mark.parametrize("how", ["cancelled", "timeout", "broken", "passed by handle"])
async def test_no_process_of_a_child_survives_it(stage: Stage, how: str) -> None:
    """Neither what ignores SIGTERM nor what left its process group, whatever ended the attempt."""
    rig, task_id = ChildRig(stage), await stage.task(timeout=5.0 if how == "timeout" else None)
    worker = await rig.begin(task_id)
    assert isinstance(worker, ChildWorker)
    pids = await worker.start_children()
    await worker.ignore_sigterm()
    match how:
        case "cancelled":
            await stage.operator.cancel(task_id)
            await worker.stop_noticed()
            await stage.over(task_id, Status.CANCELLED, CANCELLED)
        case "timeout":
            await worker.stop_noticed()
            await stage.over(task_id, Status.BLOCKED, TIMED_OUT)
        case "broken":
            await stage.operator.mark(task_id, ok=False)
            await worker.stop_noticed()
        case _:
            await stage.worker(worker.handle).submit("by handle")
            await worker.stop_noticed()
            await stage.over(task_id, Status.PASS, PASSED)
    await stage.nothing_alive(task_id, 1)
    assert len(pids) == 2
