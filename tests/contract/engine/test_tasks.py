"""Tasks: starting, reading, listing, polling, cancelling, judging."""

import asyncio
from datetime import timedelta

import pytest

from app.domain.attempts import Outcome, Reason
from app.domain.errors import (
    AttemptNotFound,
    InvalidName,
    InvalidRequest,
    InvalidTransition,
    PollTimeout,
    RoleViolation,
    SpawnDepthExceeded,
    TaskNotFound,
)
from app.domain.json import Json
from app.domain.outputs import Final
from app.domain.tasks import RetryPolicy, Status, TaskSpec
from app.engine.ops.task_filters import TaskFilter
from app.spawning.ports import Exit, Job
from tests.support.scripted import ScriptedSpawner
from tests.support.swarms import Swarm, Work, refused, unchanged

NOW = timedelta(0)
HOUR = timedelta(hours=1)
NOWHERE = "T-nowhere"


async def test_a_task_starts_pending(swarm: Swarm) -> None:
    """It has what was asked for and nothing has happened to it yet."""
    retry = RetryPolicy(max_attempts=3)
    task_id = await swarm.task("coder", "Write.", labels={"a": "1"}, retry=retry, attempt_timeout_ms=5000)
    row = await swarm.row(task_id)

    assert (row.agent, row.directive, row.status, row.attempt, row.version) == (
        "coder",
        Json.of("Write."),
        Status.PENDING,
        0,
        1,
    )
    assert (row.spawn_depth, row.parent_task_id, row.last_result, row.attempt_timeout_ms) == (0, None, None, 5000)
    assert row.retry_policy() == retry
    assert row.labels == Json.of({"a": "1"})
    assert row.session_id == (await swarm.engine.sessions.read_own(swarm.operator)).id
    assert (row.created_at, row.updated_at, row.settled_at) == (swarm.clock(), swarm.clock(), None)
    assert await swarm.engine.task_attempt(task_id) == 0


@pytest.mark.parametrize(
    "spec",
    [
        TaskSpec(agent="", initial_directive="b"),
        TaskSpec(agent="a" * 201, initial_directive="b"),
        TaskSpec(agent="a\nb", initial_directive="b"),
        TaskSpec(agent="a", initial_directive="b", labels={"": "1"}),
        TaskSpec(agent="a", initial_directive="b", labels={"a:b": "1"}),
        TaskSpec(agent="a", initial_directive="b", labels={"a": "\x00"}),
        TaskSpec(agent="a", initial_directive="b", labels={"a": ""}),
    ],
    ids=repr,
)
async def test_a_task_that_cannot_be_is_refused(swarm: Swarm, spec: TaskSpec) -> None:
    """Agents and labels have names and values, names of labels no colon."""
    await unchanged(swarm, InvalidName, swarm.engine.start_task(swarm.operator, spec))


async def test_a_timeout_is_positive(swarm: Swarm) -> None:
    """No attempt can take no time at all."""
    spec = TaskSpec(agent="a", initial_directive="b", attempt_timeout_ms=0)
    await unchanged(swarm, InvalidRequest, swarm.engine.start_task(swarm.operator, spec))


async def test_text_of_any_kind_is_kept_as_it_is(swarm: Swarm) -> None:
    """Directives and results may hold whatever JSON can say, a zero byte included."""
    text = 'zero \x00 quote " slash \\ line \u2028 astral \U0001f600'
    work = await swarm.external(await swarm.task(directive=text))
    assert await swarm.engine.fetch_prompt(work.handle, work.task_id) == text

    await swarm.submit(work, {text: [text, 1e300, -0.0, 2**53]})

    assert (await swarm.row(work.task_id)).last_result == Json.of({text: [text, 1e300, -0.0, 2**53]})


async def test_what_is_not_there_is_told(swarm: Swarm) -> None:
    """Every call that names a task says when there is none."""
    engine = swarm.engine
    for call in (
        engine.read_task_state(swarm.operator, NOWHERE),
        engine.cancel_task(swarm.operator, NOWHERE),
        engine.poll_task(swarm.operator, NOWHERE, NOW),
        engine.poll_task(swarm.operator, NOWHERE, HOUR),
        engine.query_senior(swarm.operator, NOWHERE, "?"),
        engine.post_result(swarm.operator, NOWHERE, 1),
        engine.tasks.mark(swarm.operator, NOWHERE, ok=True),
        engine.tasks.mark(swarm.operator, NOWHERE, ok=False),
        engine.tasks.override(swarm.senior, NOWHERE, ok=True),
        engine.tasks.inject_directive(swarm.senior, NOWHERE, "x"),
        engine.dispatcher.dispatch(swarm.operator, NOWHERE, {"kind": "external"}),
        engine.task_attempt(NOWHERE),
        engine.tasks.find(NOWHERE),
        engine.tasks.why(swarm.operator, NOWHERE),
        engine.attempts.page(swarm.operator, NOWHERE),
        engine.attempts.read(swarm.operator, NOWHERE, 1),
        engine.attempts.outputs(swarm.operator, NOWHERE, 1),
        engine.attempts.late(swarm.operator, NOWHERE, 1),
        engine.attempts.adopt_late(swarm.operator, NOWHERE, 1, 0),
        engine.bake_worker_system_prompt(NOWHERE, 1, "x"),
        engine.fetch_worker_payload_trusted(NOWHERE),
        engine.submit_worker_result_trusted(NOWHERE, 1, "x", True),
    ):
        error = await unchanged(swarm, TaskNotFound, call)
        assert error.task_id == NOWHERE
    task_id = await swarm.task()
    for call in (
        engine.attempts.read(swarm.operator, task_id, 1),
        engine.attempts.outputs(swarm.operator, task_id, 1),
        engine.attempts.late(swarm.operator, task_id, 1),
        engine.bake_worker_system_prompt(task_id, 1, "x"),
    ):
        await unchanged(swarm, AttemptNotFound, call)
    assert (await engine.attempts.page(swarm.operator, task_id)).items == []
    assert list(await engine.output_tail(task_id, 1)) == []


async def test_children_go_one_deeper_and_no_further(swarm: Swarm) -> None:
    """A worker's task is a child of its own; depths up to the limit exist, the next one does not."""
    work = await swarm.external()
    for depth in range(1, swarm.engine.cfg.max_spawn_depth + 1):
        parent, work = work, await swarm.external_child(work)
        row = await swarm.row(work.task_id)
        assert (row.spawn_depth, row.parent_task_id) == (depth, parent.task_id)

    error = await unchanged(swarm, SpawnDepthExceeded, swarm.child(work))

    assert (error.depth, error.max_spawn_depth) == (5, 4)


# Polling


async def test_a_snapshot_is_whatever_is(swarm: Swarm) -> None:
    """A hold of zero returns the task in any state."""
    work = await swarm.external()
    state = await swarm.engine.poll_task(swarm.operator, work.task_id, NOW)
    assert state.status is Status.RUNNING


async def test_a_poll_ends_with_its_hold(swarm: Swarm) -> None:
    """What has not happened when the hold ends is PollTimeout, and the call changes nothing."""
    work = await swarm.external()
    poll = swarm.engine.poll_task(swarm.operator, work.task_id, timedelta(milliseconds=20))
    error = await unchanged(swarm, PollTimeout, poll)
    assert error.hold_s == 0.02


@pytest.mark.parametrize("hold", [timedelta(seconds=-1), timedelta(hours=49)])
async def test_a_hold_has_bounds(swarm: Swarm, hold: timedelta) -> None:
    """Neither negative nor longer than the longest."""
    task_id = await swarm.task()
    await refused(InvalidRequest, swarm.engine.poll_task(swarm.operator, task_id, hold))


async def settle_by(swarm: Swarm, work: Work, how: str) -> None:
    """Bring a running task to where a poll returns."""
    match how:
        case "pass":
            await swarm.submit(work)
        case "blocked":
            await swarm.submit(work, ok=False)
        case "cancelled":
            await swarm.engine.cancel_task(swarm.operator, work.task_id)
        case _:
            await swarm.engine.query_senior(work.handle, work.task_id, "?")


@pytest.mark.parametrize("how", ["pass", "blocked", "cancelled", "suspended"])
async def test_a_parked_poll_is_woken(swarm: Swarm, how: str) -> None:
    """Each of the four states ends the wait, with the task as it is then; a later poll returns at once."""
    work = await swarm.external()
    parked = asyncio.ensure_future(swarm.engine.poll_task(swarm.operator, work.task_id, HOUR))
    await asyncio.sleep(0)

    await settle_by(swarm, work, how)

    async with asyncio.timeout(60):
        assert (await parked).status.value == how
        assert (await swarm.engine.poll_task(swarm.observer, work.task_id, HOUR)).status.value == how


async def test_a_poll_since_a_version_returns_for_any_news(swarm: Swarm) -> None:
    """With `since` every change counts, and one that came before is there at once."""
    work = await swarm.external()
    version = (await swarm.row(work.task_id)).version
    parked = asyncio.ensure_future(swarm.engine.poll_task(swarm.operator, work.task_id, HOUR, since=version))
    await asyncio.sleep(0)
    await swarm.engine.post_result(swarm.operator, work.task_id, "half")

    async with asyncio.timeout(60):
        assert (await parked).task.version == version + 1
        at_once = await swarm.engine.poll_task(swarm.operator, work.task_id, HOUR, since=version)
    assert at_once.status is Status.RUNNING
    await refused(
        PollTimeout,
        swarm.engine.poll_task(swarm.operator, work.task_id, timedelta(milliseconds=5), since=version + 1),
    )


# Judging


async def test_an_operators_verdict_ends_the_attempt(swarm: Swarm) -> None:
    """The live attempt is over, the value is the result, and without a value the last one stays."""
    work = await swarm.external()
    await swarm.engine.post_result(swarm.operator, work.task_id, "half")
    state = await swarm.engine.tasks.mark(swarm.operator, work.task_id, ok=False)
    assert (state.status, state.task.last_result) == (Status.BLOCKED, Json.of("half"))
    attempt = await swarm.attempt(work.task_id)
    assert (attempt.outcome, attempt.reason) == (Outcome.BLOCKED, Reason.VERDICT)

    state = await swarm.engine.tasks.mark(swarm.operator, work.task_id, ok=True, value=Json.of("whole"))

    assert (state.status, state.task.last_result) == (Status.PASS, Json.of("whole"))
    await refused(RoleViolation, swarm.engine.tasks.mark(swarm.senior, work.task_id, ok=True))


async def test_a_seniors_verdict_stands_over_a_pass(swarm: Swarm) -> None:
    """Only a senior overrides, and the feed says so."""
    work = await swarm.external()
    await swarm.submit(work)
    await refused(RoleViolation, swarm.engine.tasks.override(swarm.operator, work.task_id, ok=False))

    state = await swarm.engine.tasks.override(swarm.senior, work.task_id, ok=False, value=Json.of("bad"))

    assert (state.status, state.task.last_result) == (Status.BLOCKED, Json.of("bad"))
    assert (await swarm.kinds(work.task_id))[-2:] == ["task_blocked", "verdict_overridden"]
    again = await swarm.external(work.task_id)
    assert again.attempt == 2


async def test_a_directive_is_the_next_prompt_once(swarm: Swarm) -> None:
    """The attempt after it has it as its prompt; the one after that has the task's own again."""
    engine = swarm.engine
    work = await swarm.external(await swarm.task(directive="First."))
    await engine.tasks.inject_directive(swarm.senior, work.task_id, "Better.")
    assert await engine.fetch_prompt(work.handle, work.task_id) == "First."
    await swarm.submit(work, ok=False)

    second = await swarm.external(work.task_id)
    assert await engine.fetch_prompt(second.handle, work.task_id) == "Better."
    assert (await swarm.attempt(work.task_id, 2)).prompt == Json.of("Better.")
    await swarm.submit(second, ok=False)
    third = await swarm.external(work.task_id)

    assert await engine.fetch_prompt(third.handle, work.task_id) == "First."
    await swarm.submit(third)
    await unchanged(swarm, InvalidTransition, engine.tasks.inject_directive(swarm.senior, work.task_id, "x"))
    await refused(RoleViolation, engine.tasks.inject_directive(swarm.operator, work.task_id, "x"))


async def test_an_interim_result_changes_no_status(swarm: Swarm) -> None:
    """Workers and operators post; on a task whose result is final nobody does."""
    work = await swarm.external()
    await swarm.engine.post_result(work.handle, work.task_id, {"done": 0.5})
    row = await swarm.row(work.task_id)
    assert (row.status, row.last_result) == (Status.RUNNING, Json.of({"done": 0.5}))
    await swarm.submit(work)

    await unchanged(swarm, InvalidTransition, swarm.engine.post_result(swarm.operator, work.task_id, 1))
    await refused(RoleViolation, swarm.engine.post_result(swarm.senior, work.task_id, 1))


# Lists


async def test_lists_hold_what_was_asked_for(swarm: Swarm) -> None:
    """Every filter, alone and together, and pages without gaps or doubles."""
    engine = swarm.engine
    ids = [await swarm.task("ab"[n % 2], labels={"n": str(n % 3)}) for n in range(6)]
    work = await swarm.external(ids[0])
    child = await swarm.child(work)
    session = (await engine.sessions.read_own(swarm.operator)).id

    async def listed(**wanted: object) -> list[str]:
        page = await engine.tasks.page(swarm.operator, TaskFilter(**wanted))  # pyright: ignore[reportArgumentType] - a test's options
        return [state.task.id for state in page.items]

    assert await listed() == [child, *reversed(ids)]
    assert await listed(agent="a") == [ids[4], ids[2], ids[0]]
    assert await listed(agent="a", labels=(("n", "1"),)) == [ids[4]]
    assert await listed(status=Status.RUNNING) == [ids[0]]
    assert await listed(parent=ids[0]) == [child]
    assert await listed(session=session, status=Status.PENDING, agent="b") == [ids[5], ids[3], ids[1]]
    assert [state.task.id for state in (await engine.tasks.page(work.handle)).items] == [child]  # pyright: ignore[reportArgumentType] - a worker lists with its handle

    found, cursor = [], None
    while True:
        page = await engine.tasks.page(swarm.operator, limit=2, cursor=cursor)
        found += [state.task.id for state in page.items]
        cursor = page.next_cursor
        if cursor is None:
            break
    assert found == [child, *reversed(ids)]
    await refused(InvalidRequest, engine.tasks.page(swarm.operator, cursor="x"))


async def test_why_names_what_is_waited_for(swarm: Swarm) -> None:
    """Pending, running, suspended, blocked and settled tasks each have their chain."""
    engine = swarm.engine

    async def chain(task_id: str) -> tuple[str, list[str]]:
        found = await engine.tasks.why(swarm.operator, task_id)
        return found["summary"], [link["kind"] for link in found["chain"]]

    task_id = await swarm.task()
    assert (await chain(task_id))[0] == "It was not dispatched yet."
    work = await swarm.external(task_id, lease=HOUR)
    child = await swarm.child(work)
    summary, kinds = await chain(task_id)
    assert "a worker is working on it" in summary
    assert kinds == ["attempt", "timer", "timer", "child"]
    key = await engine.query_senior(work.handle, task_id, "?")
    summary, kinds = await chain(task_id)
    assert summary == "It waits for 1 answer."
    assert kinds == ["question", "attempt", "clocks", "child"]
    await engine.resume(key, 1)
    await swarm.submit(work, ok=False)
    assert "blocked (final)" in (await chain(task_id))[0]
    await engine.cancel_task(swarm.operator, task_id)
    assert "nothing more will happen" in (await chain(child))[0]


async def test_why_names_the_next_try_to_start_a_worker(swarm: Swarm) -> None:
    """While it is being started, with what failed."""
    begun, release = asyncio.Event(), asyncio.Event()

    async def spawn(job: Job) -> None:
        del job
        begun.set()
        await release.wait()

    spawner, task_id = ScriptedSpawner(spawn=spawn), await swarm.task()
    dispatching = asyncio.create_task(swarm.engine.dispatcher.dispatch_with(swarm.operator, task_id, spawner))
    async with asyncio.timeout(60):
        await begun.wait()
    at = swarm.clock() + 5000
    await spawner.controls[0].record_process({"next_try_at": at, "tried": 2, "failure": "replied 503"})

    chain = (await swarm.engine.tasks.why(swarm.operator, task_id))["chain"]
    [link] = [link for link in chain if link["kind"] == "next_try"]
    assert (link.get("at"), link["detail"]) == (
        at,
        "try 2 to start its worker failed (replied 503); it is called again",
    )
    release.set()
    async with asyncio.timeout(60):
        await spawner.spawned.wait()
    spawner.workers[0].end(Exit(final=Final(value=Json.of("done"), ok=True)))
    await dispatching
    chain = (await swarm.engine.tasks.why(swarm.operator, task_id))["chain"]
    assert "next_try" not in [link["kind"] for link in chain]
