"""Every spawner × every way to end, against a real server, with real processes, sockets and claims.

| | passes | says not ok | breaks | cannot start | refused | times out | cancelled | silent | superseded |
|---|---|---|---|---|---|---|---|---|---|
| external | by handle | blocked | says so | nothing starts | refused | timeout | heartbeat | lost | fenced |
| queue | by its loop | blocked | says so | nothing starts | refused | timeout | loop cancels | lost | fenced |
| operator | by handle | blocked | says so | worker-failed | refused | timeout | `cancel` | lost | fenced |
| operator-replying | by its ack | blocked | worker-failed | (breaks) | refused | timeout | `cancel` | lost | fenced |
| http | by handle | blocked | says so | spawn-failed | refused | timeout | heartbeat | lost | fenced |
| http-replying | by its reply | blocked | spawn-failed | (breaks) | refused | timeout | dropped | again | fenced |
| in_process | returns | blocked | worker-failed | 422 | refused | timeout | ended | never | fenced |
| process | by its output | blocked | worker-failed | spawn-failed | refused | timeout | killed | never | fenced |

Who is judged or whose dispatcher is revoked is told as who is cancelled; each of these is tried in other phases too.
What the server runs itself is never silent while the server lives: `test_kills.py` has what happens when it does not.
"""

from collections.abc import AsyncIterator

import jwt
import pytest
import pytest_asyncio

from app.client import ApiProblem, Refused
from app.domain.attempts import Phase
from app.domain.tasks import Status
from app.engine.core import Registries
from app.spawning.shipped import shipped_catalog
from app.wire.spawners import HttpSpawner, InProcessSpawner, ProcessSpawner
from tests.support.rigs.arena import (
    BROKE,
    CANCELLED,
    FAILED,
    JUDGED,
    LOST,
    NOT_STARTED,
    PASSED,
    REFUSED,
    REVOKED,
    TIMED_OUT,
    Arena,
    arena,
    conflict,
)
from tests.support.rigs.backstage import ID
from tests.support.rigs.inside import ChildHand, ChildRig
from tests.support.rigs.outside import ExternalRig, HttpRig, OperatorRig, QueueRig
from tests.support.rigs.replying import HttpReplyRig, OperatorReplyRig
from tests.support.rigs.rig import Rig
from tests.support.rigs.table import RIGS
from tests.support.waiting import eventually

pytestmark = pytest.mark.asyncio(loop_scope="module")

LEASE = 0.4


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def stage(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Arena]:
    """One server for all of them."""
    async with arena(tmp_path_factory.mktemp("ways")) as made:
        await made.connect()
        yield made


@pytest.fixture(params=RIGS)
def rig(request: pytest.FixtureRequest, stage: Arena) -> Rig:
    """Each in turn."""
    return RIGS[request.param](stage)


async def test_every_spawner_that_ships_is_in_the_table() -> None:
    """A new one has to say how it ends."""
    shipped = shipped_catalog(operators=Registries().operators)

    assert {rig.kind for rig in RIGS.values()} == set(shipped.kinds())


async def test_it_passes(stage: Arena, rig: Rig) -> None:
    """With what the worker says, once; said again it changes nothing, and the handle is spent."""
    task_id = await stage.task("go on")
    hand = await rig.begin(task_id)
    assert (await stage.worker(hand.handle).prompt()).prompt == "go on"
    await hand.finish({"done": True})

    task = await stage.over(task_id, Status.PASS, PASSED)
    await stage.worker(hand.handle).submit({"done": True})
    await stage.dead(hand.handle, PASSED)
    assert task.last_result == {"done": True}
    assert (await stage.operator.task(task_id)).version == task.version
    assert (task_id, 1) not in stage.backstage.cancelled


async def test_it_says_that_it_failed(stage: Arena, rig: Rig) -> None:
    """A Final without ok blocks the task with what it says."""
    task_id = await stage.task()
    hand = await rig.begin(task_id)
    await hand.finish("no luck", ok=False)

    task = await stage.over(task_id, Status.BLOCKED, FAILED)
    await stage.dead(hand.handle, FAILED)
    assert task.last_result == "no luck"


async def test_it_breaks(stage: Arena, rig: Rig) -> None:
    """An exit status, an exception, an error for a reply: the failure names itself."""
    task_id = await stage.task()
    hand = await rig.begin(task_id)
    await rig.breaks(hand)

    task = await stage.over(task_id, Status.BLOCKED, rig.broken)
    await stage.dead(hand.handle, rig.broken)
    assert "I broke" in str(task.last_result)


async def test_its_hook_agrees(stage: Arena, rig: Rig) -> None:
    """From then on its worker may act, also before it replies, and the hook hears of the end."""
    task_id = await stage.task()
    stage.backstage.hooks.shut("before", task_id)
    await rig.dispatch(task_id, layers=["main_ai"])
    await stage.phase(task_id, Phase.WAITING)
    stage.backstage.hooks.open("before", task_id, None)
    hand = await rig.running(task_id)
    await stage.worker(hand.handle).progress("at work")
    await hand.finish("done")

    await stage.over(task_id, Status.PASS, PASSED)
    await stage.dead(hand.handle, PASSED)
    assert stage.backstage.heard.count((task_id, 1, "pass")) == 1


async def test_its_hook_refuses(stage: Arena, rig: Rig) -> None:
    """Nothing is started, nobody may act, and the hook hears of the end that it made."""
    task_id = await stage.task()
    stage.backstage.hooks.shut("before", task_id)
    await rig.dispatch(task_id, layers=["main_ai"])
    await stage.phase(task_id, Phase.WAITING)
    handle = (await rig.hand(task_id)).handle if isinstance(rig, ExternalRig) else None
    if handle is not None:
        await conflict("not-started", stage.worker(handle).prompt())
    stage.backstage.hooks.open("before", task_id, Refused("not today"))

    task = await stage.over(task_id, Status.BLOCKED, REFUSED)
    if handle is not None:
        await stage.dead(handle, REFUSED)
    assert task.last_result == {"reason": "refused", "detail": "not today"}
    assert (task_id, 1, "blocked") in stage.backstage.heard
    assert not started(stage, task_id)


async def test_its_hook_takes_too_long(stage: Arena, rig: Rig) -> None:
    """Its timeout counts from the dispatch, unless it waits for a claim; a hook that agrees late starts nothing."""
    task_id = await stage.task(timeout=0.3)
    stage.backstage.hooks.shut("before", task_id)
    await rig.dispatch(task_id, layers=["main_ai"])
    if isinstance(rig, QueueRig):
        assert (await stage.phase(task_id, Phase.WAITING)).timeout_at is None
        await stage.operator.cancel(task_id)
    ends = (Status.CANCELLED, CANCELLED) if isinstance(rig, QueueRig) else (Status.BLOCKED, TIMED_OUT)
    await stage.over(task_id, *ends)
    stage.backstage.hooks.open("before", task_id, None)

    await stage.over(task_id, *ends)
    assert not started(stage, task_id)


def started(stage: Arena, task_id: str) -> bool:
    """Whether anything was asked to begin the first attempt."""
    key = task_id, 1
    return stage.desk.has(*key) or key in stage.backstage.handles or key in stage.site.posted


async def test_it_takes_too_long(stage: Arena, rig: Rig) -> None:
    """The attempt's own timeout ends it, and whatever runs it is told."""
    task_id = await stage.task(timeout=1.0)
    hand = await rig.begin(task_id)
    await hand.told()

    task = await stage.over(task_id, Status.BLOCKED, TIMED_OUT)
    await stage.dead(hand.handle, TIMED_OUT)
    assert task.last_result == {"reason": "timeout", "detail": "the attempt timeout passed"}
    assert [late.value for late in await stage.operator.late_results(task_id, 1)] == ["an afterthought"]


async def test_it_is_cancelled(stage: Arena, rig: Rig) -> None:
    """The worker is told to stop, its handle earns a conflict only, and what it still says is kept."""
    task_id = await stage.task()
    await rig.dispatch(task_id)
    hand = await rig.running(task_id)
    await stage.operator.cancel(task_id, reason="changed my mind")
    await hand.told()

    await stage.over(task_id, Status.CANCELLED, CANCELLED)
    await stage.dead(hand.handle, CANCELLED)
    assert [late.value for late in await stage.operator.late_results(task_id, 1)] == ["an afterthought"]
    await stage.operator.cancel(task_id)
    await stage.over(task_id, Status.CANCELLED, CANCELLED)


async def test_it_is_cancelled_before_its_hook_agreed(stage: Arena, rig: Rig) -> None:
    """Nothing is started any more, and the hook hears of the end."""
    task_id = await stage.task()
    stage.backstage.hooks.shut("before", task_id)
    await rig.dispatch(task_id, layers=["main_ai"])
    await stage.phase(task_id, Phase.WAITING)
    await stage.operator.cancel(task_id)
    stage.backstage.hooks.open("before", task_id, None)

    await stage.over(task_id, Status.CANCELLED, CANCELLED)
    assert not started(stage, task_id)
    assert stage.backstage.heard.count((task_id, 1, "cancelled")) == 1


async def test_it_is_cancelled_while_a_senior_thinks(stage: Arena, rig: Rig) -> None:
    """The question is withdrawn, and the worker told."""
    task_id = await stage.task()
    hand = await rig.begin(task_id)
    key = (await stage.worker(hand.handle).ask("May I?")).key
    await stage.operator.cancel(task_id)
    await hand.told()

    await stage.over(task_id, Status.CANCELLED, CANCELLED)
    await stage.dead(hand.handle, CANCELLED)
    await conflict("question-closed", stage.senior.answer(key, "you may"))


async def test_it_is_cancelled_while_its_final_is_held(stage: Arena, rig: Rig) -> None:
    """The senior has nothing more to say."""
    task_id = await stage.task()
    hand = await rig.begin(task_id, layers=["senior_escalation"])
    await hand.finish("no luck", ok=False)
    await stage.phase(task_id, Phase.HELD)
    [key] = (await stage.operator.task(task_id)).suspended_on
    await stage.operator.cancel(task_id)

    await stage.over(task_id, Status.CANCELLED, CANCELLED)
    await conflict("question-closed", stage.senior.answer(key, "well done"))


async def test_it_is_judged(stage: Arena, rig: Rig) -> None:
    """An operator's verdict ends the attempt; the worker is told, and what it still says is kept."""
    task_id = await stage.task()
    await rig.dispatch(task_id)
    hand = await rig.running(task_id)
    await stage.operator.mark(task_id, ok=True, value=["good enough"])
    await hand.told()

    task = await stage.over(task_id, Status.PASS, JUDGED)
    await stage.dead(hand.handle, JUDGED)
    assert task.last_result == "good enough"


async def test_who_dispatched_it_is_revoked(stage: Arena, rig: Rig) -> None:
    """What was minted below a token dies with it: the worker is nobody any more, and is told."""
    attached = await stage.client.attach(stage.root_key, "guest", hook_id=ID)
    guest = stage.client.operator(attached.token)
    task_id = await stage.task()
    await rig.dispatch(task_id, by=guest)
    hand = await rig.running(task_id)
    await stage.operator.revoke_token(jti_of(attached.token))
    await hand.told()

    await stage.over(task_id, Status.BLOCKED, REVOKED)
    for call in (stage.worker(hand.handle).prompt, stage.worker(hand.handle).heartbeat, guest.stats):
        with pytest.raises(ApiProblem) as refused:
            await call()
        assert (refused.value.status, refused.value.code) == (401, "unauthenticated")
    assert await stage.operator.late_results(task_id, 1) == []


def jti_of(token: str) -> str:
    """What a token is revoked by."""
    return jwt.decode(token, options={"verify_signature": False})["jti"]


async def test_it_falls_silent(stage: Arena, rig: Rig) -> None:
    """Past its lease it is lost, and comes back too late.

    What the server runs is watched by it and never silent; a site that dies under the call is called again.
    """
    task_id = await stage.task()
    await rig.dispatch(task_id, lease=LEASE if rig.outlives else 2 * LEASE)
    hand = await rig.hand(task_id)
    await hand.vanish()
    end = NOT_STARTED if isinstance(rig, HttpReplyRig) else LOST
    if not rig.outlives:
        await outlived_its_lease(stage, task_id, 2 * LEASE)
        await hand.finish("here all the time")
        await stage.over(task_id, Status.PASS, PASSED)
        return

    await stage.over(task_id, Status.BLOCKED, end)
    await stage.dead(hand.handle, end)
    assert [late.value for late in await stage.operator.late_results(task_id, 1)] == ["an afterthought"]
    if isinstance(rig, HttpReplyRig):
        assert len(stage.site.posted[task_id, 1].handles) == 2


async def outlived_its_lease(stage: Arena, task_id: str, lease: float) -> None:
    """Wait until the first lease would have run out, had nobody renewed it."""
    first = (await stage.operator.attempt(task_id, 1)).lease_expires_at
    assert first is not None

    async def later() -> bool:
        seen = (await stage.operator.attempt(task_id, 1)).lease_expires_at
        return seen is not None and seen > first + round(lease * 1000)

    await eventually(later, awaited="the server to renew the lease")


async def test_it_is_superseded(stage: Arena, rig: Rig) -> None:
    """Its late result changes neither the task nor the newer attempt, is kept, and may be adopted."""
    leased = rig.outlives and not isinstance(rig, HttpReplyRig)
    task_id = await stage.task(timeout=None if leased else 3.0)
    await rig.dispatch(task_id, lease=LEASE if leased else None)
    old = await rig.hand(task_id)
    await old.vanish() if leased else await old.told()
    end = LOST if leased else TIMED_OUT
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


async def test_it_is_tried_again(stage: Arena, rig: Rig) -> None:
    """By its policy the server itself makes a second attempt, except of what somebody has to hand on."""
    task_id = await stage.task(retry_on=["failed", "blocked"])
    hand = await rig.begin(task_id)
    await rig.breaks(hand)
    if isinstance(rig, ExternalRig):
        await stage.over(task_id, Status.BLOCKED, FAILED)
        return
    if isinstance(rig, OperatorReplyRig | HttpReplyRig):
        # It replies the second time as it did the first.
        await stage.over(task_id, Status.BLOCKED, rig.broken, rig.broken)
    else:
        second = await rig.running(task_id, attempt=2)
        await conflict("attempt-superseded", stage.worker(hand.handle).progress("still here"))
        await second.finish("at last")
        await stage.over(task_id, Status.PASS, rig.broken, PASSED)
        await stage.dead(second.handle, PASSED)


# --- What cannot start -----------------------------------------------------------------------------------------------


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
    stage: Arena, spawner: InProcessSpawner | ProcessSpawner | HttpSpawner
) -> None:
    """With 422, and the task is as it was."""
    task_id = await stage.task()
    with pytest.raises(ApiProblem) as refused:
        await stage.operator.dispatch(task_id, spawner)

    assert (refused.value.status, refused.value.code) == (422, "dispatch-failed")
    task = await stage.operator.task(task_id)
    assert (task.status, task.attempt) == (Status.PENDING, 0)


async def test_where_nothing_is_started_nothing_fails_to_start(stage: Arena) -> None:
    """A worker outside has the attempt at once; one that waits for a claim waits without a clock."""
    outside, queued = await stage.task(), await stage.task(timeout=0.1)
    await ExternalRig(stage).dispatch(outside)
    await QueueRig(stage).dispatch(queued, lease=0.1)

    assert (await stage.operator.attempt(outside, 1)).phase is Phase.RUNNING
    attempt = await stage.operator.attempt(queued, 1)
    assert (attempt.phase, attempt.timeout_at) == (Phase.QUEUED, None)
    assert {link.kind for link in (await stage.operator.why(queued)).chain} == {"attempt"}
    await stage.operator.cancel(outside)
    await stage.operator.cancel(queued)


async def test_a_program_that_cannot_be_run_blocks(stage: Arena) -> None:
    """The settings name it, the system does not know it."""
    task_id = await stage.task()
    await stage.operator.dispatch(task_id, ProcessSpawner(program="gone"))

    task = await stage.over(task_id, Status.BLOCKED, NOT_STARTED)
    assert "No such file" in str(task.last_result)


async def test_a_backend_that_cannot_start_a_worker_blocks(stage: Arena) -> None:
    """Its acknowledgement says why."""
    rig, task_id = OperatorRig(stage), await stage.task()
    stage.backstage.spawns.shut("spawn", task_id)
    stage.backstage.spawns.open("spawn", task_id, RuntimeError("no room"))
    await rig.dispatch(task_id)

    task = await stage.over(task_id, Status.BLOCKED, BROKE)
    assert "no room" in str(task.last_result)
    await stage.dead(stage.backstage.handles[task_id, 1][0], BROKE)


@pytest.mark.parametrize("how", ["cancelled", "timeout"])
async def test_what_waits_for_a_backend_ends_without_it(stage: Arena, how: str) -> None:
    """It is not asked for it when it comes."""
    task_id = await stage.task(timeout=0.3 if how == "timeout" else None)
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
    assert not started(stage, task_id)
    assert (task_id, 1) not in stage.backstage.cancelled


async def test_a_backend_that_comes_back_is_not_asked_for_what_is_held(stage: Arena) -> None:
    """It had not acknowledged, but the worker that it started has had its last word."""
    rig, task_id = OperatorRig(stage), await stage.task()
    stage.backstage.spawns.shut("spawn", task_id)
    hand = await rig.begin(task_id, layers=["senior_escalation"])
    await hand.finish("no luck", ok=False)
    await stage.phase(task_id, Phase.HELD)
    await stage.disconnect()
    await stage.connect()
    other = await rig.begin(await stage.task())
    await other.finish("the connection is there")
    await stage.over(other.task_id, Status.PASS, PASSED)
    [key] = (await stage.operator.task(task_id)).suspended_on
    await stage.senior.answer(key, {"uphold": True})

    await stage.over(task_id, Status.BLOCKED, FAILED)
    assert len(stage.backstage.handles[task_id, 1]) == 1


@pytest.mark.parametrize(("status", "posts"), [(404, 1), (302, 1), (503, 2), (0, 2)])
async def test_a_site_that_does_not_take_the_attempt_blocks(stage: Arena, status: int, posts: int) -> None:
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
async def test_nothing_of_a_childs_family_survives_it(stage: Arena, how: str) -> None:
    """Neither what ignores SIGTERM nor what left its process group, whatever ended the attempt."""
    rig, task_id = ChildRig(stage), await stage.task(timeout=1.0 if how == "timeout" else None)
    hand = await rig.begin(task_id)
    assert isinstance(hand, ChildHand)
    pids = await hand.breed()
    await hand.turn_deaf()
    match how:
        case "cancelled":
            await stage.operator.cancel(task_id)
            await hand.told()
            await stage.over(task_id, Status.CANCELLED, CANCELLED)
        case "timeout":
            await hand.told()
            await stage.over(task_id, Status.BLOCKED, TIMED_OUT)
        case "broken":
            await stage.operator.mark(task_id, ok=False)
            await hand.told()
        case _:
            await stage.worker(hand.handle).submit("by handle")
            await hand.told()
            await stage.over(task_id, Status.PASS, PASSED)
    await stage.nothing_alive(task_id, 1)
    assert len(pids) == 2
