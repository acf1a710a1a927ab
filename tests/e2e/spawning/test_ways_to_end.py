"""Every spawner × every way to end, against a real server, with real processes, sockets and claims.

| | passes | says not ok | breaks | cannot start | refused | times out | cancelled | no heartbeat | superseded |
|---|---|---|---|---|---|---|---|---|---|
| external | by handle | blocked | says so | nothing starts | refused | timeout | heartbeat | lost | fenced |
| queue | by its loop | blocked | worker-failed | nothing starts | refused | timeout | loop cancels | lost | fenced |
| operator | by handle | blocked | says so | worker-failed | refused | timeout | `cancel` | lost | fenced |
| operator-replying | by its ack | blocked | worker-failed | (breaks) | refused | timeout | `cancel` | lost | fenced |
| http | by handle | blocked | says so | spawn-failed | refused | timeout | heartbeat | lost | fenced |
| http-replying | by its reply | blocked | spawn-failed | (breaks) | refused | timeout | dropped | again | fenced |
| in_process | returns | blocked | worker-failed | 422 | refused | timeout | ended | never | fenced |
| process | by its output | blocked | worker-failed | spawn-failed | refused | timeout | killed | never | fenced |

A marked attempt, or one whose dispatcher is revoked, is stopped as a cancelled one is; each of these is tried in other
phases too. What the server runs itself never misses a heartbeat while the server lives: `test_kills.py` has what
happens when it does not, and `test_starts_and_stops.py` what cannot start.
"""

from datetime import timedelta

import jwt
import pytest

from app.spawning.backends.registry import Registries
from app.spawning.catalog import shipped_catalog
from swarmhold import ApiProblem, Refused
from swarmhold.models.enums import Phase, Status
from tests.support.rigs.backend import ID
from tests.support.rigs.outside import ExternalRig, QueueRig
from tests.support.rigs.replying import HttpReplyRig, OperatorReplyRig
from tests.support.rigs.rig import Rig
from tests.support.rigs.stage import (
    CANCELLED,
    FAILED,
    JUDGED,
    LOST,
    NOT_STARTED,
    PASSED,
    REFUSED,
    REVOKED,
    STOPPED,
    TIMED_OUT,
    Stage,
    conflict,
)
from tests.support.rigs.table import RIGS
from tests.support.waiting import eventually

pytestmark = pytest.mark.asyncio(loop_scope="module")

LEASE = 0.4


@pytest.fixture(params=RIGS)
def rig(request: pytest.FixtureRequest, stage: Stage) -> Rig:
    """Each in turn."""
    return RIGS[request.param](stage)


async def test_every_spawner_that_ships_is_in_the_table() -> None:
    """A new one has to say how it ends."""
    shipped = shipped_catalog(operators=Registries().operators)

    assert {rig.kind for rig in RIGS.values()} == set(shipped.kinds())


async def test_it_passes(stage: Stage, rig: Rig) -> None:
    """With what the worker says, once; said again it changes nothing, and the handle is spent."""
    task_id = await stage.task("go on")
    worker = await rig.begin(task_id)
    assert (await stage.worker(worker.handle).prompt()).prompt == "go on"
    await worker.finish({"done": True})

    task = await stage.over(task_id, Status.PASS, PASSED)
    await stage.worker(worker.handle).submit({"done": True})
    await stage.dead(worker.handle, PASSED)
    assert task.last_result == {"done": True}
    assert (await stage.operator.task(task_id)).version == task.version
    assert (task_id, 1) not in stage.backend.cancelled


async def test_it_says_that_it_failed(stage: Stage, rig: Rig) -> None:
    """A Final without ok blocks the task with what it says."""
    task_id = await stage.task()
    worker = await rig.begin(task_id)
    await worker.finish("no luck", ok=False)

    task = await stage.over(task_id, Status.BLOCKED, FAILED)
    await stage.dead(worker.handle, FAILED)
    assert task.last_result == "no luck"


async def test_it_breaks(stage: Stage, rig: Rig) -> None:
    """An exit status, an exception, an error for a reply: the failure names itself."""
    task_id = await stage.task()
    worker = await rig.begin(task_id)
    await rig.breaks(worker)

    task = await stage.over(task_id, Status.BLOCKED, rig.broken)
    await stage.dead(worker.handle, rig.broken)
    assert "I broke" in str(task.last_result)


async def test_its_hook_agrees(stage: Stage, rig: Rig) -> None:
    """From then on its worker may act, also before it replies, and the hook is notified of the end."""
    task_id = await stage.task()
    stage.backend.hooks.shut("before", task_id)
    await rig.dispatch(task_id, layers=["main_ai"])
    await stage.phase(task_id, Phase.WAITING)
    stage.backend.hooks.open("before", task_id, None)
    worker = await rig.running(task_id)
    await stage.worker(worker.handle).progress("at work")
    await worker.finish("done")

    await stage.over(task_id, Status.PASS, PASSED)
    await stage.dead(worker.handle, PASSED)
    assert stage.backend.ends.count((task_id, 1, "pass")) == 1


async def test_its_hook_refuses(stage: Stage, rig: Rig) -> None:
    """Nothing is started, nobody may act, and the hook is notified of the end that it caused."""
    task_id = await stage.task()
    stage.backend.hooks.shut("before", task_id)
    await rig.dispatch(task_id, layers=["main_ai"])
    await stage.phase(task_id, Phase.WAITING)
    handle = (await rig.worker(task_id)).handle if isinstance(rig, ExternalRig) else None
    if handle is not None:
        await conflict("not-started", stage.worker(handle).prompt())
    stage.backend.hooks.open("before", task_id, Refused("not today"))

    task = await stage.over(task_id, Status.BLOCKED, REFUSED)
    if handle is not None:
        await stage.dead(handle, REFUSED)
    assert task.last_result == {"reason": "refused", "detail": "not today"}
    assert (task_id, 1, "blocked") in stage.backend.ends
    assert not stage.started(task_id)


async def test_its_hook_takes_too_long(stage: Stage, rig: Rig) -> None:
    """Its timeout counts from the dispatch, unless it waits for a claim; a hook that agrees late starts nothing."""
    task_id = await stage.task(timeout=0.3)
    stage.backend.hooks.shut("before", task_id)
    await rig.dispatch(task_id, layers=["main_ai"])
    if isinstance(rig, QueueRig):
        assert (await stage.phase(task_id, Phase.WAITING)).timeout_at is None
        await stage.operator.cancel(task_id)
    ends = (Status.CANCELLED, CANCELLED) if isinstance(rig, QueueRig) else (Status.BLOCKED, TIMED_OUT)
    await stage.over(task_id, *ends)
    stage.backend.hooks.open("before", task_id, None)

    await stage.over(task_id, *ends)
    assert not stage.started(task_id)


async def test_it_takes_too_long(stage: Stage, rig: Rig) -> None:
    """The attempt's own timeout ends it, and its worker is stopped."""
    task_id = await stage.task(timeout=3.0)
    worker = await rig.begin(task_id)
    await worker.stop_noticed()

    task = await stage.over(task_id, Status.BLOCKED, TIMED_OUT)
    await stage.dead(worker.handle, TIMED_OUT)
    assert task.last_result == {"reason": "timeout", "detail": "the attempt timeout passed"}
    assert [late.value for late in await stage.operator.late_results(task_id, 1)] == ["an afterthought"]


async def test_it_is_cancelled(stage: Stage, rig: Rig) -> None:
    """The worker is stopped, its handle gets conflicts only, and what it submits too late is kept."""
    task_id = await stage.task()
    await rig.dispatch(task_id)
    worker = await rig.running(task_id)
    await stage.operator.cancel(task_id, reason="changed my mind")
    await worker.stop_noticed()

    await stage.over(task_id, Status.CANCELLED, CANCELLED)
    await stage.dead(worker.handle, CANCELLED)
    assert [late.value for late in await stage.operator.late_results(task_id, 1)] == ["an afterthought"]
    await stage.operator.cancel(task_id)
    await stage.over(task_id, Status.CANCELLED, CANCELLED)


async def test_it_is_cancelled_right_after_its_dispatch(stage: Stage, rig: Rig) -> None:
    """However far the server has come with starting it, nothing of it is left."""
    tasks = [await stage.task() for _ in range(5)]
    for task_id in tasks:
        await rig.dispatch(task_id)
        await stage.operator.cancel(task_id)

    for task_id in tasks:
        await stage.over(task_id, Status.CANCELLED, CANCELLED)


async def test_it_is_cancelled_before_its_hook_agreed(stage: Stage, rig: Rig) -> None:
    """Nothing is started any more, and the hook is notified of the end."""
    task_id = await stage.task()
    stage.backend.hooks.shut("before", task_id)
    await rig.dispatch(task_id, layers=["main_ai"])
    await stage.phase(task_id, Phase.WAITING)
    await stage.operator.cancel(task_id)
    stage.backend.hooks.open("before", task_id, None)

    await stage.over(task_id, Status.CANCELLED, CANCELLED)
    assert not stage.started(task_id)
    assert stage.backend.ends.count((task_id, 1, "cancelled")) == 1


async def test_it_is_cancelled_while_a_senior_thinks(stage: Stage, rig: Rig) -> None:
    """The question is withdrawn, and the worker stopped."""
    task_id = await stage.task()
    worker = await rig.begin(task_id)
    key = (await stage.worker(worker.handle).ask("May I?")).key
    await stage.operator.cancel(task_id)
    await worker.stop_noticed()

    await stage.over(task_id, Status.CANCELLED, CANCELLED)
    await stage.dead(worker.handle, CANCELLED)
    await conflict("question-closed", stage.senior.answer(key, "you may"))


async def test_it_is_cancelled_while_its_final_is_held(stage: Stage, rig: Rig) -> None:
    """The senior has nothing more to say."""
    task_id = await stage.task()
    worker = await rig.begin(task_id, layers=["senior_escalation"])
    await worker.finish("no luck", ok=False)
    await stage.phase(task_id, Phase.HELD)
    [key] = (await stage.operator.task(task_id)).suspended_on
    await stage.operator.cancel(task_id)

    await stage.over(task_id, Status.CANCELLED, CANCELLED)
    await conflict("question-closed", stage.senior.answer(key, "well done"))


async def test_it_is_judged(stage: Stage, rig: Rig) -> None:
    """An operator's verdict ends the attempt; the worker is stopped, and what it submits too late is kept."""
    task_id = await stage.task()
    await rig.dispatch(task_id)
    worker = await rig.running(task_id)
    await stage.operator.mark(task_id, ok=True, value=["good enough"])
    await worker.stop_noticed()

    task = await stage.over(task_id, Status.PASS, JUDGED)
    await stage.dead(worker.handle, JUDGED)
    assert task.last_result == "good enough"


async def test_who_dispatched_it_is_revoked(stage: Stage, rig: Rig) -> None:
    """What descends from a token is revoked with it: the worker may do nothing any more, and is stopped."""
    attached = await stage.client.attach(stage.root_key, "guest", hook_id=ID)
    guest = stage.client.operator(attached.token)
    task_id = await stage.task()
    await rig.dispatch(task_id, by=guest)
    worker = await rig.running(task_id)
    await stage.operator.revoke_token(jti_of(attached.token))
    await worker.stop_noticed()

    await stage.over(task_id, Status.BLOCKED, REVOKED)
    for call in (stage.worker(worker.handle).prompt, stage.worker(worker.handle).heartbeat, guest.stats):
        with pytest.raises(ApiProblem) as refused:
            await call()
        assert (refused.value.status, refused.value.code) == (401, "unauthenticated")
    assert await stage.operator.late_results(task_id, 1) == []


def jti_of(token: str) -> str:
    """What a token is revoked by."""
    return jwt.decode(token, options={"verify_signature": False})["jti"]


async def test_it_sends_no_heartbeat(stage: Stage, rig: Rig) -> None:
    """Past its lease it is lost, and comes back too late.

    What the server runs is watched by it and needs no heartbeat; a site that dies under the call is called again.
    """
    task_id = await stage.task()
    await rig.dispatch(task_id, lease=LEASE if rig.outlives else 2 * LEASE)
    worker = await rig.worker(task_id)
    await worker.vanish()
    end = NOT_STARTED if isinstance(rig, HttpReplyRig) else LOST
    if not rig.outlives:
        await outlived_its_lease(stage, task_id, 2 * LEASE)
        await worker.finish("here all the time")
        await stage.over(task_id, Status.PASS, PASSED)
        return

    await stage.over(task_id, Status.BLOCKED, end)
    await stage.dead(worker.handle, end)
    assert [late.value for late in await stage.operator.late_results(task_id, 1)] == ["an afterthought"]
    if isinstance(rig, HttpReplyRig):
        assert len(stage.site.posted[task_id, 1].handles) == 2


async def outlived_its_lease(stage: Stage, task_id: str, lease: float) -> None:
    """Wait until the first lease would have run out, had nobody renewed it."""
    first = (await stage.operator.attempt(task_id, 1)).lease_expires_at
    assert first is not None

    async def later() -> bool:
        seen = (await stage.operator.attempt(task_id, 1)).lease_expires_at
        return seen is not None and seen > first + timedelta(seconds=lease)

    await eventually(later, awaited="the server to renew the lease")


async def test_it_is_superseded(stage: Stage, rig: Rig) -> None:
    """Its late result changes neither the task nor the newer attempt, is kept, and may be adopted."""
    leased = rig.outlives and not isinstance(rig, HttpReplyRig)
    task_id = await stage.task()
    await rig.dispatch(task_id, lease=LEASE if leased else None)
    old = await rig.worker(task_id)
    if leased:
        await old.vanish()
        end = LOST
    else:
        await stage.operator.mark(task_id, ok=False)
        await old.stop_noticed()
        end = STOPPED
    await stage.over(task_id, Status.BLOCKED, end)
    await rig.dispatch(task_id)
    new = await rig.running(task_id, attempt=2)
    before = await stage.operator.task(task_id)

    await conflict("attempt-superseded", stage.worker(old.handle).submit("late"))
    await conflict("attempt-superseded", stage.worker(old.handle).heartbeat())

    assert await stage.operator.task(task_id) == before
    assert (await stage.operator.attempt(task_id, 2)).status == "live"
    await new.finish("no luck", ok=False)
    await stage.over(task_id, Status.BLOCKED, end, FAILED)
    [late] = await stage.operator.late_results(task_id, 1)
    task = await stage.operator.adopt_late_result(task_id, 1, late.index)
    assert (late.value, task.last_result) == ("late", "late")
    await stage.over(task_id, Status.PASS, end, FAILED)
    assert (await stage.operator.late_results(task_id, 2)) == []


async def test_it_is_tried_again(stage: Stage, rig: Rig) -> None:
    """By its policy the server itself makes a second attempt, except of what somebody has to pass on."""
    task_id = await stage.task(retry_on=["failed", "blocked"])
    worker = await rig.begin(task_id)
    await rig.breaks(worker)
    if isinstance(rig, ExternalRig):
        await stage.over(task_id, Status.BLOCKED, FAILED)
        return
    if isinstance(rig, OperatorReplyRig | HttpReplyRig):
        # It replies the second time as it did the first.
        await stage.over(task_id, Status.BLOCKED, rig.broken, rig.broken)
    else:
        second = await rig.running(task_id, attempt=2)
        await conflict("attempt-superseded", stage.worker(worker.handle).progress("still here"))
        await second.finish("at last")
        await stage.over(task_id, Status.PASS, rig.broken, PASSED)
        await stage.dead(second.handle, PASSED)
