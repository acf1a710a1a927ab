"""Questions that have a task of their own: its end, and how long their idempotency keys are remembered."""

from datetime import timedelta
from typing import Any

import pytest

from app.domain.access import Role, Verb
from app.domain.errors import (
    AlreadyAnswered,
    IdempotencyMismatch,
    InvalidRequest,
    QuestionClosed,
    RoleViolation,
    TaskNotFound,
)
from app.domain.json import Json
from app.domain.questions import Ask, OnDeadline, Question, QuestionStatus
from app.domain.tasks import Status
from app.engine.ops.idempotency import Idempotency
from app.state.policies import RetentionPolicy
from app.state.retention import sweep
from tests.support.swarms import DAY, Swarm, refused, unchanged

YES = Json.of({"go": True})


async def asked(
    swarm: Swarm, key: str | None = None, *, labels: dict[str, str] | None = None, **parts: Any
) -> Question:
    """A question of the operator that has no task yet."""
    once = None if key is None else Idempotency(key, "same")
    ask = Ask(question=Json.of("Deploy?"), **parts)
    return await swarm.engine.questions.ask_alone(swarm.operator, ask, labels=labels, idempotency=once)


async def test_the_answer_is_the_result_of_the_task(swarm: Swarm) -> None:
    """No attempt runs, and a restart in between changes nothing."""
    question = await asked(swarm, labels={"team": "blue"})
    waiting = await swarm.engine.tasks.read(swarm.operator, question.task_id)
    assert (waiting.status, waiting.task.attempt, waiting.suspended_on) == (Status.SUSPENDED, 0, (question.key,))
    assert (waiting.task.agent, waiting.task.directive, waiting.task.labels.value) == (
        "ask",
        Json.of("Deploy?"),
        {"team": "blue", "kind": "ask"},
    )
    assert "waits for an answer" in str(await swarm.engine.tasks.why(swarm.operator, question.task_id))
    await swarm.engine.stop()
    await swarm.engine.start()

    await swarm.engine.questions.answer(swarm.senior, question.key, YES)

    done = await swarm.row(question.task_id)
    assert (done.status, done.last_result, done.open_questions, done.live) == (Status.PASS, YES, 0, False)
    assert done.settled_at is not None
    assert (await swarm.kinds(question.task_id)) == [
        "task_created",
        "senior_queried",
        "task_suspended",
        "senior_answered",
        "task_pass",
    ]


async def test_it_passes_once_nothing_else_is_open(swarm: Swarm) -> None:
    """Another question about the task is waited for, whichever is answered first."""
    for order in (0, 1):
        own = await asked(swarm)
        ask = Ask(question=Json.of("And tests?"))
        other = await swarm.engine.questions.ask(swarm.operator, ask, task_id=own.task_id)
        for question in (own, other) if order else (other, own):
            assert await swarm.status(own.task_id) is Status.SUSPENDED
            await swarm.engine.questions.answer(swarm.senior, question.key, Json.of(question.key))
        done = await swarm.row(own.task_id)
        assert (done.status, done.last_result) == (Status.PASS, Json.of(own.key))


@pytest.mark.parametrize(
    ("policy", "status", "result"),
    [
        (OnDeadline.DEFAULT, Status.PASS, '"no"'),
        (OnDeadline.BLOCK, Status.BLOCKED, "deadline"),
        (OnDeadline.KEEP_WAITING, Status.SUSPENDED, ""),
    ],
)
async def test_its_deadline_decides(swarm: Swarm, policy: OnDeadline, status: Status, result: str) -> None:
    """By default with the default, blocked, or not at all."""
    default = Json.of("no") if policy is OnDeadline.DEFAULT else None
    deadline = swarm.clock() + 1000
    question = await asked(swarm, on_deadline=policy, deadline=deadline, default_answer=default)
    await swarm.pass_time(2)
    await swarm.engine.timers.carry_out_due()
    task = await swarm.row(question.task_id)
    assert task.status is status
    assert result in ("" if task.last_result is None else task.last_result.text)


async def test_a_withdrawn_one_cancels_its_task(swarm: Swarm) -> None:
    """Again the reply is the same, and the reason is kept."""
    question = await asked(swarm)
    withdrawn = await swarm.engine.questions.withdraw(swarm.operator, question.key, reason="not now")
    assert (withdrawn.status, withdrawn.reason) == (QuestionStatus.WITHDRAWN, "not now")
    assert await swarm.engine.questions.read(swarm.senior, question.key) == withdrawn
    assert await swarm.status(question.task_id) is Status.CANCELLED
    before = await swarm.dump()
    assert await swarm.engine.questions.withdraw(swarm.operator, question.key) == withdrawn
    assert await swarm.dump() == before
    await unchanged(swarm, QuestionClosed, swarm.engine.questions.answer(swarm.senior, question.key, YES))


async def test_a_withdrawn_question_of_a_worker_lets_it_go_on(swarm: Swarm) -> None:
    """Its clocks run again once nothing else is open."""
    work = await swarm.external()
    keys = [(await swarm.engine.questions.ask(work.handle, Ask(question=Json.of(n)))).key for n in ("first", "second")]
    await swarm.engine.questions.withdraw(swarm.operator, keys[0])
    assert await swarm.status(work.task_id) is Status.SUSPENDED
    await swarm.engine.questions.withdraw(swarm.operator, keys[1])
    assert await swarm.status(work.task_id) is Status.RUNNING
    attempt = await swarm.attempt(work.task_id)
    assert attempt.paused_at is None
    await swarm.submit(work)
    assert await swarm.status(work.task_id) is Status.PASS


async def test_what_is_settled_is_not_withdrawn(swarm: Swarm) -> None:
    """An answer and a deadline stand."""
    question = await asked(swarm)
    await swarm.engine.questions.answer(swarm.senior, question.key, YES)
    await unchanged(swarm, AlreadyAnswered, swarm.engine.questions.withdraw(swarm.operator, question.key))
    late = await asked(swarm, on_deadline=OnDeadline.BLOCK, deadline=swarm.clock() + 1000)
    await swarm.pass_time(2)
    await swarm.engine.timers.carry_out_due()
    await unchanged(swarm, QuestionClosed, swarm.engine.questions.withdraw(swarm.operator, late.key))


async def test_a_blocked_one_can_be_given_up(swarm: Swarm) -> None:
    """Cancelling its task withdraws the question."""
    question = await asked(swarm)
    await swarm.engine.tasks.cancel(swarm.operator, question.task_id)
    assert (await swarm.engine.questions.read(swarm.senior, question.key)).status is QuestionStatus.WITHDRAWN


async def test_who_may_ask_is_who_may_start_tasks(swarm: Swarm) -> None:
    """Both rights are needed, and the label is the server's."""
    ask = Ask(question=Json.of("?"))
    minted = await swarm.engine.credentials.mint(
        swarm.operator,
        agent_id="w",
        role=Role.WORKER,
        ttl=timedelta(hours=1),
        max_uses=None,
        scopes=frozenset({Verb.QUERY_SENIOR}),
        task_id=await swarm.task(),
    )
    await unchanged(swarm, RoleViolation, swarm.engine.questions.ask_alone(minted.token, ask))
    await unchanged(swarm, RoleViolation, swarm.engine.questions.ask_alone(swarm.observer, ask))
    await unchanged(swarm, InvalidRequest, asked(swarm, labels={"kind": "other"}))


async def test_a_key_is_remembered_as_long_as_what_it_made(swarm: Swarm) -> None:
    """After weeks the same ask finds the same question; a day after the task is gone it asks anew."""
    question = await asked(swarm, "k")
    policy = RetentionPolicy(idempotency=timedelta(days=1), finished=timedelta(days=7))

    async def days_pass(days: int) -> None:
        await swarm.pass_time(days * DAY.total_seconds())
        await swarm.engine.with_state("sweep", lambda state: sweep(state, policy))

    await days_pass(20)
    assert (await asked(swarm, "k")).key == question.key
    other = Ask(question=Json.of("Other?"))
    changed = Idempotency("k", "other")
    await refused(IdempotencyMismatch, swarm.engine.questions.ask_alone(swarm.operator, other, idempotency=changed))
    await swarm.engine.questions.answer(swarm.senior, question.key, YES)
    await days_pass(2)
    assert (await asked(swarm, "k")).answer == YES
    await days_pass(6)
    await refused(TaskNotFound, swarm.row(question.task_id))
    assert await _keys(swarm) == 1
    await days_pass(2)
    assert await _keys(swarm) == 0
    assert (await asked(swarm, "k")).key != question.key


async def _keys(swarm: Swarm) -> int:
    return len((await swarm.dump())["idempotency"])
