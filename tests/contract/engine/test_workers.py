"""What a worker does: fetch, send, submit, read data; and what comes too late."""

import asyncio
from dataclasses import replace
from datetime import timedelta

import pytest

from app.domain.access import Role
from app.domain.attempts import Reason
from app.domain.errors import (
    AttemptSuperseded,
    Cancelled,
    FinalConflict,
    InvalidName,
    InvalidRequest,
    InvalidTransition,
    LateResultNotFound,
    NotStarted,
    QuotaExceeded,
    ResourceNotFound,
    RoleViolation,
    TokenExpired,
    TokenRevoked,
    TokenTaskMismatch,
)
from app.domain.json import Json
from app.domain.limits import Limits
from app.domain.outputs import Output, OutputEvent, OutputType
from app.domain.tasks import Status
from tests.support.clocks import HandClock
from tests.support.swarms import EXTERNAL, Plan, Swarm, refused, unchanged

HOUR = timedelta(hours=1)


async def test_the_payload_has_all_a_worker_needs(swarm: Swarm) -> None:
    """Task, attempt, agent, prompt, system prompt and the answers, oldest question first; the same by every way."""
    engine, work = swarm.engine, await swarm.external()
    await engine.bake_worker_system_prompt(work.task_id, 1, "You are careful.")
    keys = [await engine.query_senior(work.handle, work.task_id, n) for n in (1, 2)]
    await engine.resume(keys[1], "two", by="ann")
    swarm.clock.advance(1)
    await engine.resume(keys[0], "one")

    payload = await engine.fetch_worker_payload(work.handle, work.task_id)

    assert (payload.task_id, payload.attempt, payload.agent) == (work.task_id, 1, "coder")
    assert (payload.prompt, payload.system) == ("Do it.", "You are careful.")
    assert [(a["key"], a["question"], a["answer"], a["answered_by"]) for a in payload.answers] == [
        (keys[0], 1, "one", "engine"),
        (keys[1], 2, "two", "ann"),
    ]
    assert await engine.workers.payload(work.handle) == payload
    assert await engine.fetch_worker_payload(await swarm.worker_token(work), work.task_id) == payload
    assert await engine.fetch_worker_payload_trusted(work.task_id) == payload
    assert await engine.fetch_prompt(work.handle, work.task_id) == payload.prompt
    await engine.bake_worker_system_prompt(work.task_id, 1, None)
    assert (await engine.workers.payload(work.handle)).system is None


async def test_only_workers_fetch(swarm: Swarm) -> None:
    """An operator has no prompt."""
    work = await swarm.external()
    for token in (swarm.operator, swarm.senior, swarm.observer):
        await refused(RoleViolation, swarm.engine.fetch_prompt(token, work.task_id))


async def test_outputs_are_kept_in_order(swarm: Swarm) -> None:
    """Progress, partial, artifact and the Final, numbered from one, each with its event."""
    engine, work = swarm.engine, await swarm.external()
    sent = [OutputEvent.progress("read"), OutputEvent.partial({"a": 1}), OutputEvent.artifact("report", [1])]
    for event in sent:
        await engine.submit_output(work.handle, work.task_id, 1, event)
    await engine.submit_output(work.handle, work.task_id, 1, OutputEvent.final("done"))

    tail = await engine.output_tail(work.task_id, 1)

    assert [row.seq for row in tail] == [1, 2, 3, 4]
    assert [(row.type, row.body) for row in tail] == [
        *((event.type, event.body) for event in sent),
        (OutputType.FINAL, OutputEvent.final("done").body),
    ]
    assert [
        row.seq
        for row in (await engine.attempts.outputs(swarm.operator, work.task_id, 1, after=1, limit=2)).items
        if isinstance(row, Output)
    ] == [
        2,
        3,
    ]
    row = await swarm.row(work.task_id)
    assert (row.status, row.last_result) == (Status.PASS, Json.of("done"))


async def test_concurrent_outputs_are_all_kept(swarm: Swarm) -> None:
    """No number is given twice and none is left out."""
    work = await swarm.external()
    events = [OutputEvent.partial(n) for n in range(30)]
    await asyncio.gather(*(swarm.engine.workers.emit(work.handle, event) for event in events))

    tail = await swarm.engine.output_tail(work.task_id, 1)

    assert [row.seq for row in tail] == list(range(1, 31))
    assert sorted(row.body.value["chunk"] for row in tail) == list(range(30))


async def test_an_attempt_has_so_many_outputs(plan: Plan) -> None:
    """The error names the limit; the Final is still accepted."""
    plan = replace(plan, cfg=replace(plan.cfg, limits=Limits(outputs=2)))
    async with plan.engine() as engine:
        swarm = await Swarm.over(engine, plan)
        work = await swarm.external()
        for n in range(2):
            await engine.workers.emit(work.handle, OutputEvent.partial(n))
        await unchanged(swarm, QuotaExceeded, engine.workers.emit(work.handle, OutputEvent.partial(2)))
        await swarm.submit(work)
        assert len(await engine.output_tail(work.task_id, 1)) == 3


async def test_outputs_name_their_own_attempt(swarm: Swarm) -> None:
    """Another attempt's number, and a Final that is emitted, are refused."""
    engine, work = swarm.engine, await swarm.external()
    await unchanged(
        swarm, TokenTaskMismatch, engine.submit_output(work.handle, work.task_id, 2, OutputEvent.partial(1))
    )
    await unchanged(swarm, InvalidRequest, engine.workers.emit(work.handle, OutputEvent.final(1)))
    await unchanged(swarm, TokenTaskMismatch, engine.workers.submit(work.handle, Json.of(1), ok=True, attempt=2))


# Finals


async def test_the_first_final_wins(swarm: Swarm) -> None:
    """An equal Final, however it is spelled, changes nothing; another value or `ok` is a conflict."""
    engine, work = swarm.engine, await swarm.external()
    await engine.workers.submit(work.handle, Json('{"a":1,"b":2}'), ok=True)
    before = await swarm.dump()

    await engine.workers.submit(work.handle, Json('{"b": 2.0, "a": 1}'), ok=True)
    await engine.submit_worker_result_trusted(work.task_id, 1, {"b": 2, "a": 1}, True)

    assert await swarm.dump() == before
    for value, ok in ((Json.of({"a": 1}), True), (Json('{"a":1,"b":2}'), False)):
        error = await unchanged(swarm, FinalConflict, engine.workers.submit(work.handle, value, ok=ok))
        assert (error.task_id, error.attempt) == (work.task_id, 1)


async def test_of_many_finals_one_wins(swarm: Swarm) -> None:
    """Concurrent workers of one attempt: one value is the result, the others get FinalConflict."""
    for _ in range(5):
        work = await swarm.external()
        outcomes = await asyncio.gather(
            *(swarm.submit(work, n, ok=n % 2 == 0) for n in range(12)), return_exceptions=True
        )
        [winner] = [n for n, outcome in enumerate(outcomes) if outcome is None]
        assert {type(outcome) for outcome in outcomes} == {type(None), FinalConflict}
        row = await swarm.row(work.task_id)
        assert row.last_result == Json.of(winner)
        assert row.status is (Status.PASS if winner % 2 == 0 else Status.BLOCKED)
        kinds = await swarm.kinds(work.task_id)
        assert kinds.count("task_attempt_completed") == 1
        assert len([kind for kind in kinds if kind in ("task_pass", "task_blocked")]) == 1


async def test_a_final_withdraws_what_was_asked(swarm: Swarm) -> None:
    """A worker that submits while its question is open settles the task, and the question with it."""
    engine, work = swarm.engine, await swarm.external()
    key = await engine.query_senior(work.handle, work.task_id, "?")
    await swarm.submit(work, "did it anyway")

    question = await engine.questions.read(swarm.senior, key)
    assert question.status.value == "withdrawn"
    row = await swarm.row(work.task_id)
    assert (row.status, row.open_questions) == (Status.PASS, 0)


async def test_what_comes_late_is_kept(swarm: Swarm) -> None:
    """A superseded attempt's Final is a conflict and a late result, once per value."""
    engine, work = swarm.engine, await swarm.external(lease=timedelta(seconds=10))
    await swarm.pass_time(10)
    for _ in range(2):
        error = await refused(AttemptSuperseded, swarm.submit(work, "late"))
        assert (error.reason, error.kept) == ("lost", True)
    second = await swarm.external(work.task_id)
    await refused(AttemptSuperseded, swarm.submit(work, "later", ok=False))

    late = (await engine.attempts.late(swarm.operator, work.task_id, 1)).items

    assert [(x.index, x.value, x.ok, x.reason) for x in late] == [
        (0, Json.of("late"), True, "lost"),
        (1, Json.of("later"), False, "lost"),
    ]
    assert (await swarm.attempt(work.task_id)).is_live
    assert (await swarm.kinds(work.task_id)).count("late_result") == 2
    await swarm.submit(second)


async def test_late_results_are_bounded(plan: Plan) -> None:
    """A worker that goes on sending does not fill the store."""
    plan = replace(plan, cfg=replace(plan.cfg, limits=Limits(late_results=3)))
    async with plan.engine() as engine:
        swarm = await Swarm.over(engine, plan)
        work = await swarm.external()
        await engine.tasks.mark(swarm.operator, work.task_id, ok=False)
        for n in range(6):
            await refused(AttemptSuperseded, swarm.submit(work, n))
        assert len((await engine.attempts.late(swarm.operator, work.task_id, 1)).items) == 3


async def test_the_final_of_an_older_attempt_is_a_late_result(swarm: Swarm) -> None:
    """Another value for an attempt that has a Final but is not the latest any more never lands on the next one."""
    work = await swarm.external()
    await swarm.submit(work, "bad", ok=False)
    second = await swarm.external(work.task_id)

    await swarm.submit(work, "bad", ok=False)
    await refused(AttemptSuperseded, swarm.submit(work, "good"))

    assert (await swarm.row(work.task_id)).status is Status.RUNNING
    assert (await swarm.attempt(work.task_id)).final is None
    await swarm.submit(second, "right")


async def test_a_cancelled_tasks_worker_is_told(swarm: Swarm) -> None:
    """Fetching, sending and submitting earn Cancelled; the heartbeat says it; what was submitted is kept."""
    engine, work = swarm.engine, await swarm.external()
    await engine.cancel_task(swarm.operator, work.task_id, reason="no longer needed")

    await refused(Cancelled, engine.workers.payload(work.handle))
    await refused(Cancelled, engine.workers.emit(work.handle, OutputEvent.partial(1)))
    pulse = await engine.workers.heartbeat(work.handle)
    assert (pulse.cancelled, pulse.expires_at) == (True, None)
    assert (await refused(Cancelled, swarm.submit(work, "late"))).kept
    assert [x.value for x in (await engine.attempts.late(swarm.senior, work.task_id, 1)).items] == [Json.of("late")]
    await unchanged(swarm, InvalidTransition, engine.attempts.adopt_late(swarm.operator, work.task_id, 1, 0))
    await unchanged(swarm, InvalidTransition, engine.attempts.adopt_late(swarm.senior, work.task_id, 1, 0))


@pytest.mark.parametrize("by", ["operator", "senior"])
@pytest.mark.parametrize("ok", [True, False])
async def test_a_late_result_is_adopted(swarm: Swarm, by: str, ok: bool) -> None:
    """An operator or senior makes it the result; a newer attempt that is live ends with that."""
    engine, work = swarm.engine, await swarm.external(lease=timedelta(seconds=10))
    await swarm.pass_time(10)
    await refused(AttemptSuperseded, swarm.submit(work, "late", ok=ok))
    newer = await swarm.external(work.task_id)

    state = await engine.attempts.adopt_late(getattr(swarm, by), work.task_id, 1, 0)

    assert (state.status, state.task.last_result) == (Status.PASS if ok else Status.BLOCKED, Json.of("late"))
    [late] = (await engine.attempts.late(swarm.operator, work.task_id, 1)).items
    assert (late.adopted_by, late.adopted_at) == (by, swarm.clock())
    await refused(AttemptSuperseded, engine.workers.payload(newer.handle))
    await unchanged(swarm, LateResultNotFound, engine.attempts.adopt_late(swarm.operator, work.task_id, 1, 1))
    await refused(RoleViolation, engine.attempts.adopt_late(swarm.observer, work.task_id, 1, 0))


async def test_trusted_calls_are_about_the_attempt_they_name(swarm: Swarm) -> None:
    """Callers in the process name the attempt; the errors are those that its handle would get."""
    engine, work = swarm.engine, await swarm.external()
    await engine.submit_worker_result_trusted(work.task_id, 1, "bad", False)
    assert await swarm.status(work.task_id) is Status.BLOCKED
    assert await engine.task_attempt(work.task_id) == 1
    second = await swarm.external(work.task_id)
    await refused(AttemptSuperseded, engine.submit_worker_result_trusted(work.task_id, 1, "other", True))
    await refused(NotStarted, engine.submit_worker_result_trusted(work.task_id, 7, "x", True))
    await engine.cancel_task(swarm.operator, second.task_id)

    await refused(Cancelled, engine.fetch_worker_payload_trusted(work.task_id))
    await refused(NotStarted, engine.fetch_worker_payload_trusted(await swarm.task()))


async def test_trusted_calls_look_at_the_handle_again(swarm: Swarm) -> None:
    """Resolved a while ago, it may have expired or been revoked since; and there is no attempt 0 to mean the latest."""
    engine = swarm.engine
    session = await engine.attach("op", Role.OPERATOR, HOUR)
    dispatched, _ = await engine.dispatcher.dispatch(session, await swarm.task(), EXTERNAL)
    await engine.credentials.revoke(swarm.operator, (await engine.sessions.read_own(session)).jti)
    expired = await swarm.external()
    await unchanged(swarm, NotStarted, engine.submit_worker_result_trusted(expired.task_id, 0, "x", True))
    swarm.clock.advance(engine.cfg.handle_life_ms / 1000)

    for task_id, error in ((dispatched.task_id, TokenRevoked), (expired.task_id, TokenExpired)):
        await unchanged(swarm, error, engine.submit_worker_result_trusted(task_id, 1, "x", True))
        await unchanged(swarm, error, engine.fetch_worker_payload_trusted(task_id))
    await refused(TokenExpired, engine.workers.submit(expired.handle, Json.of("x"), ok=True))


# Clocks and signs of life


async def test_a_heartbeat_renews_the_lease(swarm: Swarm) -> None:
    """A worker with heartbeats is not lost; each returns the expiry of the lease."""
    engine, work = swarm.engine, await swarm.external(lease=timedelta(seconds=10))
    for _ in range(5):
        swarm.clock.advance(9)
        assert (await engine.workers.heartbeat(work.handle)).expires_at == swarm.clock() + 10_000
        assert await engine.timers.carry_out_due() == 0
    assert (await swarm.attempt(work.task_id)).is_live

    await swarm.pass_time(10)

    assert (await swarm.attempt(work.task_id)).reason is Reason.LOST


@pytest.mark.parametrize("how", ["fetch", "output"])
async def test_traffic_renews_the_lease(swarm: Swarm, how: str) -> None:
    """Fetching the prompt and sending outputs are signs of life too."""
    engine, work = swarm.engine, await swarm.external(lease=timedelta(seconds=10))
    for _ in range(4):
        swarm.clock.advance(8)
        if how == "fetch":
            await engine.workers.payload(work.handle)
        else:
            await engine.workers.emit(work.handle, OutputEvent.partial(1))
        assert await engine.timers.carry_out_due() == 0
    assert (await swarm.attempt(work.task_id)).is_live


async def test_the_handle_lives_with_its_lease(swarm: Swarm, clock: HandClock) -> None:
    """A renewed attempt's handle and token outlast their first life."""
    engine, work = swarm.engine, await swarm.external(lease=HOUR)
    for _ in range(4):
        clock.advance(3000)
        await engine.workers.heartbeat(work.handle)
    await engine.workers.payload(work.handle)
    await engine.workers.payload(await swarm.worker_token(work))


# Data


async def test_named_values_are_read_by_those_who_may(swarm: Swarm) -> None:
    """The last value stands; workers read and do not write; seniors and observers do neither."""
    engine, work = swarm.engine, await swarm.external()
    await engine.set_resource("a/b", {"x": 1})
    swarm.clock.advance(1)
    await engine.resources.put(swarm.operator, "a/b", Json.of([2]))

    assert await engine.fetch_data(work.handle, "a/b") == [2]
    assert await engine.resources.read(swarm.operator, "a/b") == (Json.of([2]), swarm.clock())
    assert (await refused(ResourceNotFound, engine.fetch_data(work.handle, "c"))).key == "c"
    await refused(TokenTaskMismatch, engine.resources.put(work.handle, "a/b", Json.of(3)))  # pyright: ignore[reportArgumentType] - a handle is no token
    for token in (swarm.senior, swarm.observer):
        await refused(RoleViolation, engine.fetch_data(token, "a/b"))
        await refused(RoleViolation, engine.resources.put(token, "a/b", Json.of(3)))


@pytest.mark.parametrize("key", ["", "a\nb", "a\n", "\x00", "k" * 201, "a\u202eb"])
async def test_names_of_values_have_bounds(swarm: Swarm, key: str) -> None:
    """No empty, endless or unprintable names."""
    await unchanged(swarm, InvalidName, swarm.engine.set_resource(key, 1))
