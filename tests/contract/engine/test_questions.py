"""Asking a senior: answers, deadlines, bridges, and Finals that are held for one."""

import asyncio
from dataclasses import replace
from datetime import timedelta
from typing import Any

from app.domain.access import Role, RoleVerbGate, Verb
from app.domain.attempts import Outcome, Phase, Reason
from app.domain.clock import to_rfc3339
from app.domain.errors import (
    AlreadyAnswered,
    AnswerInvalid,
    AttemptSuperseded,
    FinalConflict,
    InvalidRequest,
    PollTimeout,
    QuestionClosed,
    ResumeKeyNotFound,
    RoleViolation,
    TokenRevoked,
    TokenTaskMismatch,
)
from app.domain.json import Json
from app.domain.questions import Ask, OnDeadline, Question, QuestionStatus
from app.domain.tasks import Status
from app.domain.tokens import Handle
from tests.support.swarms import DAY, EXTERNAL, Plan, Swarm, Work, crash, refused, unchanged, values
from tests.support.waiting import eventually

HOUR = timedelta(hours=1)
NOW = timedelta(0)
NOWHERE = "R-nowhere"


async def asked(swarm: Swarm, work: Work | None = None, **parts: Any) -> Question:
    """A question of a worker."""
    work = work or await swarm.external()
    return await swarm.engine.questions.ask(work.handle, Ask(question=Json.of("May I?"), **parts))


async def status(swarm: Swarm, key: str) -> QuestionStatus:
    """Where the question stands."""
    return (await swarm.engine.questions.read(swarm.senior, key)).status


async def test_a_question_suspends_and_is_answered(swarm: Swarm) -> None:
    """Row, suspension and events in one; the answer resumes, and who gave it is recorded."""
    work = await swarm.external()
    question = await asked(swarm, work)
    assert (question.status, question.task_id, question.attempt, question.agent) == (
        QuestionStatus.OPEN,
        work.task_id,
        1,
        "coder",
    )
    assert await swarm.status(work.task_id) is Status.SUSPENDED

    answered = await swarm.engine.questions.answer(swarm.senior, question.key, Json.of({"yes": True}))

    assert (answered.status, answered.answer, answered.answered_by) == (
        QuestionStatus.ANSWERED,
        Json.of({"yes": True}),
        "senior",
    )
    assert await swarm.engine.questions.read(swarm.senior, question.key) == answered
    assert await swarm.status(work.task_id) is Status.RUNNING
    assert await swarm.engine.await_resume(question.key, NOW) == {"yes": True}


async def test_the_first_answer_wins(swarm: Swarm) -> None:
    """The same again changes nothing, another one is refused, and of many at once one stands."""
    question = await asked(swarm)
    outcomes = await asyncio.gather(
        *(swarm.engine.resume(question.key, n, by=f"s{n}") for n in range(10)), return_exceptions=True
    )
    [winner] = [n for n, outcome in enumerate(outcomes) if outcome is None]
    assert {type(outcome) for outcome in outcomes} == {type(None), AlreadyAnswered}
    found = await swarm.engine.questions.read(swarm.senior, question.key)
    assert (found.answer, found.answered_by) == (Json.of(winner), f"s{winner}")
    before = await swarm.dump()

    await swarm.engine.resume(question.key, float(winner))
    assert await swarm.dump() == before
    error = await unchanged(swarm, AlreadyAnswered, swarm.engine.resume(question.key, "x"))

    assert error.answered_by == f"s{winner}"
    assert (await swarm.kinds(question.task_id)).count("senior_answered") == 1


async def test_what_is_not_there_or_closed_is_told(swarm: Swarm) -> None:
    """Unknown keys, withdrawn questions, and workers who are not senior."""
    engine, question = swarm.engine, await asked(swarm)
    for call in (
        engine.resume(NOWHERE, 1),
        engine.questions.answer(swarm.senior, NOWHERE, Json.of(1)),
        engine.await_resume(NOWHERE, NOW),
        engine.questions.watch(swarm.operator, NOWHERE, NOW),
        engine.questions.read(swarm.senior, NOWHERE),
    ):
        assert (await unchanged(swarm, ResumeKeyNotFound, call)).key == NOWHERE
    await refused(PollTimeout, engine.await_resume(question.key, NOW))
    await refused(PollTimeout, engine.await_resume(question.key, timedelta(milliseconds=5)))
    await refused(InvalidRequest, engine.await_resume(question.key, timedelta(hours=49)))
    await engine.cancel_task(swarm.operator, question.task_id)

    error = await unchanged(swarm, QuestionClosed, engine.resume(question.key, 1))
    assert error.status == "withdrawn"
    await refused(QuestionClosed, engine.await_resume(question.key, HOUR))
    found, settled = await engine.questions.watch(swarm.operator, question.key, HOUR)
    assert (found.status, settled) == (QuestionStatus.WITHDRAWN, True)


async def test_an_answer_fits_its_schema(swarm: Swarm) -> None:
    """One that breaks it is refused and leaves the question open; choices count as schema."""
    schema = Json.of({"type": "object", "required": ["ok"]})
    first = await asked(swarm, answer_schema=schema)
    second = await asked(swarm, choices=Json.of(["a", "b"]))
    for question, wrong, right in ((first, {"no": 1}, {"ok": 1}), (second, "c", "b")):
        error = await unchanged(swarm, AnswerInvalid, swarm.engine.resume(question.key, wrong))
        assert error.key == question.key
        assert await status(swarm, question.key) is QuestionStatus.OPEN
        await swarm.engine.resume(question.key, right)
    await unchanged(swarm, InvalidRequest, asked(swarm, await swarm.external(), choices=Json.of([])))


async def test_a_parked_wait_is_woken(swarm: Swarm) -> None:
    """Answer and withdrawal both end the waits for a question, of its worker and of others."""
    work = await swarm.external()
    for end in ("answer", "withdraw"):
        question = await asked(swarm, work)
        waits = [
            asyncio.ensure_future(swarm.engine.questions.watch(bearer, question.key, HOUR))
            for bearer in (work.handle, swarm.operator, swarm.senior)
        ]
        waits.append(asyncio.ensure_future(swarm.engine.await_resume(question.key, HOUR)))
        await asyncio.sleep(0)
        if end == "answer":
            await swarm.engine.resume(question.key, 1)
        else:
            await swarm.engine.cancel_task(swarm.operator, work.task_id)
        async with asyncio.timeout(60):
            *watched, awaited = await asyncio.gather(*waits, return_exceptions=True)
        assert {(q.key, settled) for q, settled in watched} == {(question.key, True)}  # pyright: ignore[reportGeneralTypeIssues] - none of them failed
        assert awaited == 1 if end == "answer" else isinstance(awaited, QuestionClosed)


# Who may see and answer


async def test_who_may_answer(swarm: Swarm) -> None:
    """Seniors answer everything; operators only what is addressed to a backend of theirs; others nothing."""
    engine = swarm.engine
    holder = await engine.attach_with_ids("main", Role.OPERATOR, DAY, bridge_id="mine")
    for_all, for_mine = await asked(swarm), await asked(swarm, bridge_id="mine")

    for question in (for_all, for_mine):
        for token in (swarm.operator, swarm.observer, await swarm.worker_token(await swarm.external())):
            await unchanged(swarm, RoleViolation, engine.questions.answer(token, question.key, Json.of(1)))
    await unchanged(swarm, RoleViolation, engine.questions.answer(holder, for_all.key, Json.of(1)))
    await engine.questions.answer(holder, for_mine.key, Json.of(1))
    await engine.questions.answer(swarm.senior, for_all.key, Json.of(1))


async def test_nobody_below_the_asker_answers(plan: Plan) -> None:
    """Even where workers may answer, the task's own worker and everybody under it may not."""
    plan = replace(plan, gate=RoleVerbGate().allowing(Role.WORKER, Verb.ANSWER_QUERY))
    async with plan.engine() as engine:
        swarm = await Swarm.over(engine, plan)
        parent = await swarm.external()
        own = await swarm.external_child(parent)
        child = await swarm.external_child(own)
        other = await swarm.external()
        question = await asked(swarm, own)
        for below in (own, child):
            token = await swarm.worker_token(below)
            await unchanged(swarm, RoleViolation, engine.questions.answer(token, question.key, Json.of(1)))
        await engine.questions.answer(await swarm.worker_token(other), question.key, Json.of(1))


async def test_a_worker_sees_its_own_questions(swarm: Swarm) -> None:
    """Another worker's question is not its affair."""
    work, other = await swarm.external(), await swarm.external()
    question = await asked(swarm, work)
    await swarm.engine.questions.watch(work.handle, question.key, NOW)
    await refused(TokenTaskMismatch, swarm.engine.questions.watch(other.handle, question.key, NOW))


async def test_a_question_goes_to_the_askers_bridge(swarm: Swarm) -> None:
    """Named by the question, else by the session that dispatched the worker, else nobody in particular."""
    engine = swarm.engine
    main = await engine.attach_with_ids("main", Role.OPERATOR, DAY, bridge_id="b")
    task_id = await swarm.task()
    made, _ = await engine.dispatcher.dispatch(main, task_id, EXTERNAL)
    assert made.handle is not None
    mine = await engine.questions.ask(Handle(made.handle), Ask(question=Json.of(1)))
    named = await engine.questions.ask(Handle(made.handle), Ask(question=Json.of(2), bridge_id="other"))
    nobodys = await asked(swarm)
    assert [q.bridge_id for q in (mine, named, nobodys)] == ["b", "other", None]

    open_for_b = await engine.questions.open_for(swarm.senior, "b")

    assert [q.key for q in open_for_b] == [mine.key, nobodys.key]
    assert await engine.questions.count_open_for(swarm.senior, "b") == 2
    assert await engine.questions.count_open_for(swarm.senior, "b", addressed_only=True) == 1
    await engine.questions.mark_delivered([mine.key, NOWHERE], "b")
    await engine.questions.mark_delivered([mine.key], "b")
    assert (await engine.questions.read(swarm.senior, mine.key)).delivered_to == Json.of(["b"])
    await engine.questions.answer(swarm.senior, mine.key, Json.of(1))
    assert [q.key for q in await engine.questions.open_for(swarm.senior, "b", after=mine.key)] == [nobodys.key]


async def test_a_revoked_senior_reads_no_more(swarm: Swarm) -> None:
    """A connection whose token was revoked gets TokenRevoked at its next read."""
    engine = swarm.engine
    token = await engine.attach("s", Role.SENIOR, DAY)
    await engine.questions.open_for(token, "b")
    await engine.credentials.revoke(swarm.operator, (await engine.sessions.read_own(token)).jti)
    await refused(TokenRevoked, engine.questions.open_for(token, "b"))
    await refused(TokenRevoked, engine.questions.count_open_for(token, "b"))


async def test_the_inbox_is_a_list(swarm: Swarm) -> None:
    """Oldest first, by status, bridge and task, page by page."""
    engine = swarm.engine
    questions = [await asked(swarm, bridge_id="ab"[n % 2]) for n in range(4)]
    await engine.resume(questions[0].key, 1)

    async def listed(**wanted: Any) -> list[str]:
        return [q.key for q in (await engine.questions.page(swarm.senior, **wanted)).items]

    keys = [q.key for q in questions]
    assert await listed() == keys
    assert await listed(status=QuestionStatus.OPEN) == keys[1:]
    assert await listed(status=QuestionStatus.OPEN, bridge_id="b") == [keys[1], keys[3]]
    assert await listed(task_id=questions[2].task_id) == [keys[2]]
    page = await engine.questions.page(swarm.senior, limit=3)
    assert page.next_cursor == keys[2]
    assert await listed(cursor=page.next_cursor) == [keys[3]]
    await refused(InvalidRequest, engine.questions.page(swarm.senior, cursor="x"))
    await refused(RoleViolation, engine.questions.page(swarm.observer))


# Deadlines


def due(swarm: Swarm, seconds: float = 60) -> int:
    """An instant to come."""
    return swarm.clock() + round(seconds * 1000)


async def test_silence_means_nothing_by_itself(swarm: Swarm) -> None:
    """`keep_waiting`, the default, lets the deadline pass."""
    question = await asked(swarm, deadline=due(swarm))
    await swarm.pass_time(3600)
    assert await status(swarm, question.key) is QuestionStatus.OPEN
    await swarm.engine.resume(question.key, "at last")


async def test_silence_gives_the_default(swarm: Swarm) -> None:
    """At its deadline, not before; recorded as the deadline's answer; a late answer is one too many."""
    question = await asked(swarm, deadline=due(swarm), on_deadline=OnDeadline.DEFAULT, default_answer=Json.of("no"))
    await swarm.pass_time(59.999)
    assert await status(swarm, question.key) is QuestionStatus.OPEN
    await swarm.pass_time(0.001)

    found = await swarm.engine.questions.read(swarm.senior, question.key)
    assert (found.status, found.answer, found.answered_by) == (QuestionStatus.ANSWERED, Json.of("no"), "deadline")
    assert await swarm.status(question.task_id) is Status.RUNNING
    await refused(AlreadyAnswered, swarm.engine.resume(question.key, "yes"))


async def test_silence_escalates(swarm: Swarm) -> None:
    """To the other bridge, once; the question stays open."""
    question = await asked(
        swarm, bridge_id="a", deadline=due(swarm), on_deadline=OnDeadline.ESCALATE, escalate_to="chief"
    )
    version = (await swarm.row(question.task_id)).version
    await swarm.pass_time(60)
    await swarm.pass_time(3600)

    found = await swarm.engine.questions.read(swarm.senior, question.key)
    assert (found.status, found.bridge_id) == (QuestionStatus.OPEN, "chief")
    assert (await swarm.kinds(question.task_id)).count("question_escalated") == 1
    assert (await swarm.row(question.task_id)).version == version + 1
    await swarm.engine.resume(question.key, 1)


async def test_silence_blocks(swarm: Swarm) -> None:
    """The task is blocked with the reason, its attempt ended, its other questions withdrawn, this one expired."""
    work = await swarm.external()
    other = await asked(swarm, work)
    question = await asked(swarm, work, deadline=due(swarm), on_deadline=OnDeadline.BLOCK)
    await swarm.pass_time(60)

    assert await status(swarm, question.key) is QuestionStatus.EXPIRED
    assert await status(swarm, other.key) is QuestionStatus.WITHDRAWN
    attempt, row = await swarm.attempt(work.task_id), await swarm.row(work.task_id)
    assert (attempt.reason, row.status, row.open_questions) == (Reason.DEADLINE, Status.BLOCKED, 0)
    for key in (question.key, other.key):
        await refused(QuestionClosed, swarm.engine.resume(key, 1))
    await refused(AttemptSuperseded, swarm.submit(work))
    again = await swarm.external(work.task_id)
    assert (await swarm.engine.workers.payload(again.handle)).answers == []


async def test_a_deadline_that_has_passed_is_due_at_once(swarm: Swarm) -> None:
    """One in the past is carried out at the next look."""
    question = await asked(swarm, deadline=due(swarm, -1), on_deadline=OnDeadline.BLOCK)
    await swarm.pass_time(0)
    assert await status(swarm, question.key) is QuestionStatus.EXPIRED


async def test_answer_and_deadline_race(swarm: Swarm) -> None:
    """Whichever comes first, there is one answer and everybody sees the same."""
    for _ in range(10):
        question = await asked(
            swarm, deadline=due(swarm), on_deadline=OnDeadline.DEFAULT, default_answer=Json.of("default")
        )
        swarm.clock.advance(60)
        outcomes = await asyncio.gather(
            swarm.engine.timers.carry_out_due(), swarm.engine.resume(question.key, "human"), return_exceptions=True
        )
        assert isinstance(outcomes[1], type(None) | AlreadyAnswered)
        expected = "human" if outcomes[1] is None else "default"
        assert await swarm.engine.await_resume(question.key, NOW) == expected
        assert (await swarm.kinds(question.task_id)).count("senior_answered") == 1


# Reminders


async def test_a_near_deadline_is_told_once(swarm: Swarm, plan: Plan) -> None:
    """An hour before it, by one event, also when the server was away at that instant; the policy is untouched."""
    question = await asked(swarm, deadline=due(swarm, 7200), on_deadline=OnDeadline.BLOCK)
    await swarm.pass_time(3599.999)
    assert "question_reminded" not in await swarm.kinds(question.task_id)
    await crash(swarm.engine)
    swarm.clock.advance(60)
    async with plan.engine() as engine:
        again = await Swarm.over(engine, plan)
        for seconds in (0, 0, 1):
            await again.pass_time(seconds)
        told = [event for event in await again.events(question.task_id) if event.kind == "question_reminded"]
        assert [values(event) for event in told] == [
            {"key": question.key, "deadline": to_rfc3339(question.deadline or 0)}
        ]
        assert await status(again, question.key) is QuestionStatus.OPEN
        await again.pass_time(3600)
        assert await status(again, question.key) is QuestionStatus.EXPIRED


async def test_nobody_is_reminded_of_what_is_near_closed_or_over(swarm: Swarm) -> None:
    """Of a question that was asked within the hour, that is answered, or whose deadline passed meanwhile."""
    await asked(swarm, deadline=due(swarm, 3600))
    await asked(swarm)
    answered = await asked(swarm, deadline=due(swarm, 7200))
    await swarm.engine.resume(answered.key, 1)
    await asked(swarm, deadline=due(swarm, 7200))
    await swarm.pass_time(7200)
    assert "question_reminded" not in await swarm.kinds()


# A Final that is held for a senior


async def escalated(swarm: Swarm, *layers: str) -> tuple[Work, str]:
    """A worker's Final without ok that waits for a senior."""
    work = await swarm.external(layers=("senior_escalation", *layers))
    await swarm.submit(work, {"why": "stuck"}, ok=False)
    state = await swarm.engine.read_task_state(swarm.operator, work.task_id)
    assert state.status is Status.SUSPENDED
    [key] = state.suspended_on
    return work, key


async def test_a_failed_final_goes_to_the_senior(swarm: Swarm) -> None:
    """The answer makes it good, with both values; the question says what it is about."""
    work, key = await escalated(swarm)
    question = await swarm.engine.questions.read(swarm.senior, key)
    assert question.question == Json.of(
        {
            "reason": "worker-failed",
            "agent": "coder",
            "task_id": work.task_id,
            "attempt": 1,
            "value": {"why": "stuck"},
        }
    )
    assert (question.asked_by, question.asker_role) == ("layer:senior_escalation", "engine")
    await swarm.engine.questions.answer(swarm.senior, key, Json.of("accept it"))

    row = await swarm.row(work.task_id)
    assert (row.status, row.last_result) == (
        Status.PASS,
        Json.of({"original": {"why": "stuck"}, "senior_answer": "accept it"}),
    )
    assert (await swarm.attempt(work.task_id)).outcome is Outcome.PASS


async def test_an_upheld_final_stands(swarm: Swarm) -> None:
    """`uphold` true blocks the task with the original."""
    work, key = await escalated(swarm)
    await swarm.engine.resume(key, {"uphold": True, "note": "too bad"})
    row = await swarm.row(work.task_id)
    assert (row.status, row.last_result) == (Status.BLOCKED, Json.of({"why": "stuck"}))


async def test_a_good_final_asks_nobody(swarm: Swarm) -> None:
    """The layer acts on Finals without ok only."""
    work = await swarm.external(layers=("senior_escalation",))
    await swarm.submit(work, "fine")
    assert await swarm.status(work.task_id) is Status.PASS


async def test_while_a_final_is_held(swarm: Swarm) -> None:
    """The same Final is accepted again, others are conflicts, no clock ends the attempt, and signs of life are late."""
    work = await swarm.external(layers=("senior_escalation",), lease=timedelta(seconds=10))
    await swarm.submit(work, "no", ok=False)
    await swarm.submit(work, "no", ok=False)
    await unchanged(swarm, FinalConflict, swarm.submit(work, "yes"))
    await unchanged(swarm, AttemptSuperseded, swarm.engine.workers.heartbeat(work.handle))
    await unchanged(swarm, AttemptSuperseded, swarm.engine.workers.payload(work.handle))
    await swarm.pass_time(30 * 86400)

    assert (await swarm.attempt(work.task_id)).phase is Phase.HELD
    assert await swarm.status(work.task_id) is Status.SUSPENDED


async def test_the_held_final_has_its_own_answer(swarm: Swarm) -> None:
    """Another question of the same task, answered later, does not become the answer to the layer's question."""
    for first in (True, False):
        work, key = await escalated(swarm)
        other = await swarm.engine.query_senior(swarm.operator, work.task_id, "And else?")
        order = [(key, {"uphold": True}), (other, "nothing")]
        for question, answer in order if first else reversed(order):
            assert await swarm.status(work.task_id) is Status.SUSPENDED
            await swarm.engine.resume(question, answer)
        row = await swarm.row(work.task_id)
        assert (row.status, row.last_result) == (Status.BLOCKED, Json.of({"why": "stuck"}))


async def test_a_warning_does_not_release_a_held_final(plan: Plan) -> None:
    """An attempt that is held long is warned of, and the senior's answer still has its meaning."""
    plan = replace(plan, long_hold_s=0.0)
    async with plan.engine() as engine:
        swarm = await Swarm.over(engine, plan)
        work, key = await escalated(swarm, "long_hold")

        async def is_warned() -> bool:
            return "attempt_held_long" in await swarm.kinds(work.task_id)

        await eventually(is_warned)
        await engine.resume(key, "accept it")
        assert await swarm.status(work.task_id) is Status.PASS
        assert (await swarm.kinds(work.task_id)).count("attempt_held_long") == 1


async def test_cancelling_withdraws_the_escalation(swarm: Swarm) -> None:
    """Nobody waits for the senior any more, and an answer is refused."""
    work, key = await escalated(swarm)
    await swarm.engine.cancel_task(swarm.operator, work.task_id)
    assert await status(swarm, key) is QuestionStatus.WITHDRAWN
    await refused(QuestionClosed, swarm.engine.resume(key, "accept"))
    row = await swarm.row(work.task_id)
    assert (row.status, row.live) == (Status.CANCELLED, False)


async def test_a_final_that_escalates_closes_the_workers_questions(swarm: Swarm) -> None:
    """What the worker had asked is withdrawn when it has finished; only the layer's question is open."""
    work = await swarm.external(layers=("senior_escalation",))
    mine = await asked(swarm, work)
    await swarm.submit(work, "no", ok=False)
    state = await swarm.engine.read_task_state(swarm.operator, work.task_id)
    assert len(state.suspended_on) == 1
    assert state.suspended_on != (mine.key,)
    assert await status(swarm, mine.key) is QuestionStatus.WITHDRAWN
