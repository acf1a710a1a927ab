"""The table of a task's states, each state × each operation, through the engine."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from datetime import timedelta

import pytest

from app.domain.attempts import Reason
from app.domain.errors import (
    AlreadyAnswered,
    AttemptNotFound,
    AttemptSuperseded,
    Cancelled,
    EngineError,
    FinalConflict,
    InvalidTransition,
    NotStarted,
    QuestionClosed,
)
from app.domain.json import Json
from app.domain.questions import Ask, OnDeadline
from app.domain.tasks import Status
from app.engine.ops import attempts, settling
from app.state.state import State
from tests.support.swarms import EXTERNAL, Swarm, Work

PENDING, RUNNING, SUSPENDED = Status.PENDING, Status.RUNNING, Status.SUSPENDED
PASS, BLOCKED, CANCELLED = Status.PASS, Status.BLOCKED, Status.CANCELLED

LEASE_S = 60.0
TIMEOUT_S = 600.0
DEADLINE_S = 900.0


@dataclass(slots=True)
class Case:
    """A task in some state: its worker when it had one, its question when it had one."""

    swarm: Swarm
    status: Status
    task_id: str
    work: Work | None = None
    keys: list[str] = field(default_factory=list)

    @property
    def number(self) -> int:
        """The attempt that an operation of a driver or timer is about."""
        return self.work.attempt if self.work else 1


async def brought_to(swarm: Swarm, status: Status) -> Case:
    """A task in this state, by way of a question that had a deadline wherever there could be one."""
    task_id = await swarm.task(attempt_timeout_ms=round(TIMEOUT_S * 1000))
    case = Case(swarm, status, task_id)
    if status is PENDING:
        return case
    case.work = await swarm.external(task_id, lease=timedelta(seconds=LEASE_S))
    if status is not RUNNING:
        deadline = swarm.clock() + round(DEADLINE_S * 1000)
        asked = Ask(question=Json.of("May I?"), deadline=deadline, on_deadline=OnDeadline.BLOCK)
        case.keys.append((await swarm.engine.questions.ask(case.work.handle, asked)).key)
    if status is PASS:
        await swarm.submit(case.work, "good")
    elif status is BLOCKED:
        await swarm.submit(case.work, "bad", ok=False)
    elif status is CANCELLED:
        await swarm.engine.cancel_task(swarm.operator, task_id)
    assert await swarm.status(task_id) is status
    return case


Operation = Callable[[Case], Awaitable[object]]


async def dispatch(case: Case) -> None:
    await case.swarm.engine.dispatcher.dispatch(case.swarm.operator, case.task_id, EXTERNAL)


async def query_senior(case: Case) -> None:
    await case.swarm.engine.query_senior(case.swarm.operator, case.task_id, "What now?")


async def resume(case: Case) -> None:
    await case.swarm.engine.resume(case.keys[-1], "yes")


async def deadline_block(case: Case) -> None:
    await case.swarm.pass_time(DEADLINE_S)


async def final_ok(case: Case) -> None:
    await _submit(case, ok=True)


async def final_failed(case: Case) -> None:
    await _submit(case, ok=False)


async def _submit(case: Case, *, ok: bool) -> None:
    engine = case.swarm.engine
    number = case.work.attempt if case.work else 0
    await engine.submit_worker_result_trusted(case.task_id, number, f"late {ok}", ok)


async def worker_failed(case: Case) -> None:
    await _fail(case, Reason.WORKER_FAILED)


async def spawn_failed(case: Case) -> None:
    await _fail(case, Reason.SPAWN_FAILED)


async def _fail(case: Case, reason: Reason) -> None:
    """What a runner does when the worker or its start has failed."""

    def fail(state: State) -> None:
        rows = attempts.require_own_attempt(state, case.task_id, case.number, epoch=1)
        settling.fail_attempt(state, *rows, reason, "it broke", worker_gone=True)

    await case.swarm.engine.with_state("fail", fail)


async def timeout(case: Case) -> None:
    if case.work is not None and case.status is RUNNING:
        case.swarm.clock.advance(TIMEOUT_S - 1)
        await case.swarm.engine.workers.heartbeat(case.work.handle)
        await case.swarm.pass_time(1)
    else:
        await case.swarm.pass_time(TIMEOUT_S)


async def lease_lost(case: Case) -> None:
    await case.swarm.pass_time(LEASE_S)


async def cancel_task(case: Case) -> None:
    await case.swarm.engine.cancel_task(case.swarm.operator, case.task_id)


async def mark_pass(case: Case) -> None:
    await case.swarm.engine.tasks.mark(case.swarm.operator, case.task_id, ok=True)


async def mark_blocked(case: Case) -> None:
    await case.swarm.engine.tasks.mark(case.swarm.operator, case.task_id, ok=False)


async def override_pass(case: Case) -> None:
    await case.swarm.engine.tasks.override(case.swarm.senior, case.task_id, ok=True)


async def override_blocked(case: Case) -> None:
    await case.swarm.engine.tasks.override(case.swarm.senior, case.task_id, ok=False)


NOTHING = object()
"""The operation has nothing to do and says nothing."""

After = Status | type[EngineError] | object

LATE_FINAL: dict[Status, After] = {PENDING: NotStarted, PASS: FinalConflict, BLOCKED: FinalConflict}
LATE_END: dict[Status, After] = {PENDING: AttemptNotFound, PASS: AttemptSuperseded, BLOCKED: AttemptSuperseded}
ILLEGAL = InvalidTransition

TABLE: dict[Operation, dict[Status, After]] = {
    dispatch: {
        PENDING: RUNNING, RUNNING: ILLEGAL, SUSPENDED: ILLEGAL,
        PASS: ILLEGAL, BLOCKED: RUNNING, CANCELLED: ILLEGAL,
    },
    query_senior: {
        PENDING: SUSPENDED, RUNNING: SUSPENDED, SUSPENDED: SUSPENDED,
        PASS: ILLEGAL, BLOCKED: ILLEGAL, CANCELLED: ILLEGAL,
    },
    # The question of a settled task was withdrawn with it; pending and running tasks have none to answer.
    resume: {SUSPENDED: RUNNING, PASS: QuestionClosed, BLOCKED: QuestionClosed, CANCELLED: QuestionClosed},
    deadline_block: {
        PENDING: NOTHING, SUSPENDED: BLOCKED,
        PASS: NOTHING, BLOCKED: NOTHING, CANCELLED: NOTHING,
    },
    final_ok: {**LATE_FINAL, RUNNING: PASS, SUSPENDED: PASS, CANCELLED: Cancelled},
    final_failed: {**LATE_FINAL, RUNNING: BLOCKED, SUSPENDED: BLOCKED, CANCELLED: Cancelled},
    worker_failed: {**LATE_END, RUNNING: BLOCKED, SUSPENDED: BLOCKED, CANCELLED: Cancelled},
    # The spawn that fails while its task waits for a senior ends the attempt, and the task goes on waiting.
    spawn_failed: {**LATE_END, RUNNING: BLOCKED, SUSPENDED: SUSPENDED, CANCELLED: Cancelled},
    timeout: {
        PENDING: NOTHING, RUNNING: BLOCKED, SUSPENDED: NOTHING,
        PASS: NOTHING, BLOCKED: NOTHING, CANCELLED: NOTHING,
    },
    lease_lost: {
        PENDING: NOTHING, RUNNING: BLOCKED, SUSPENDED: NOTHING,
        PASS: NOTHING, BLOCKED: NOTHING, CANCELLED: NOTHING,
    },
    cancel_task: {
        PENDING: CANCELLED, RUNNING: CANCELLED, SUSPENDED: CANCELLED,
        PASS: ILLEGAL, BLOCKED: CANCELLED, CANCELLED: NOTHING,
    },
    mark_pass: {
        PENDING: PASS, RUNNING: PASS, SUSPENDED: PASS,
        PASS: ILLEGAL, BLOCKED: PASS, CANCELLED: ILLEGAL,
    },
    mark_blocked: {
        PENDING: BLOCKED, RUNNING: BLOCKED, SUSPENDED: BLOCKED,
        PASS: ILLEGAL, BLOCKED: BLOCKED, CANCELLED: ILLEGAL,
    },
    override_pass: {
        PENDING: ILLEGAL, RUNNING: PASS, SUSPENDED: PASS,
        PASS: PASS, BLOCKED: PASS, CANCELLED: ILLEGAL,
    },
    override_blocked: {
        PENDING: ILLEGAL, RUNNING: BLOCKED, SUSPENDED: BLOCKED,
        PASS: BLOCKED, BLOCKED: BLOCKED, CANCELLED: ILLEGAL,
    },
}  # fmt: skip


@pytest.mark.parametrize("operation", TABLE, ids=lambda operation: operation.__name__)
async def test_each_operation_leads_where_the_table_says(swarm: Swarm, operation: Operation) -> None:
    """From each state an operation leads to the one state of the table, or is refused and changes nothing."""
    for status, after in TABLE[operation].items():
        case = await brought_to(swarm, status)
        before, rows = await swarm.row(case.task_id), await swarm.dump()

        if isinstance(after, Status):
            await operation(case)
            changed = await swarm.row(case.task_id)
            assert changed.status is after, (status, changed)
            assert changed.version > before.version
        elif after is NOTHING:
            await operation(case)
            assert await swarm.row(case.task_id) == before, status
        else:
            with pytest.raises(EngineError) as raised:
                await operation(case)
            assert raised.type is after, (status, raised.value)
            assert await swarm.row(case.task_id) == before, status
            if after is not Cancelled:  # what came too late for a cancelled task is kept beside it
                assert await swarm.dump() == rows, status


async def test_a_running_task_without_a_live_attempt_is_dispatched(swarm: Swarm) -> None:
    """A question of a pending task, once answered, leaves it running with nobody on it, and it may be dispatched."""
    task_id = await swarm.task()
    key = await swarm.engine.query_senior(swarm.operator, task_id, "Shall we?")
    await swarm.engine.resume(key, "yes")
    row = await swarm.row(task_id)
    assert (row.status, row.live, row.attempt) == (RUNNING, False, 0)

    work = await swarm.external(task_id)

    assert (await swarm.engine.workers.payload(work.handle)).answers[0]["answer"] == "yes"


async def test_several_questions_suspend_until_the_last_is_answered(swarm: Swarm) -> None:
    """A task stays suspended while one of its questions is open, whatever the order of the answers."""
    work = await swarm.external()
    first = await swarm.engine.query_senior(work.handle, work.task_id, 1)
    second = await swarm.engine.query_senior(swarm.operator, work.task_id, 2)
    assert (await swarm.engine.read_task_state(swarm.operator, work.task_id)).suspended_on == (first, second)

    await swarm.engine.resume(second, "b")
    assert await swarm.status(work.task_id) is SUSPENDED
    await swarm.engine.resume(first, "a")

    assert await swarm.status(work.task_id) is RUNNING


async def test_a_failed_spawn_of_a_suspended_task_has_its_effect_after_the_answer(swarm: Swarm) -> None:
    """What went wrong while the senior thought blocks the task as soon as the answer is there; the answer is kept."""
    case = await brought_to(swarm, SUSPENDED)
    await spawn_failed(case)
    assert not (await swarm.row(case.task_id)).live

    await resume(case)

    row = await swarm.row(case.task_id)
    assert row.status is BLOCKED
    assert row.last_result is not None
    assert row.last_result.value["reason"] == "spawn-failed"
    work = await swarm.external(case.task_id)
    assert [a["answer"] for a in (await swarm.engine.workers.payload(work.handle)).answers] == ["yes"]


async def test_a_settled_questions_answer_stands(swarm: Swarm) -> None:
    """Answering twice is refused by the question, whatever the task has become."""
    case = await brought_to(swarm, SUSPENDED)
    await resume(case)
    await cancel_task(case)

    await swarm.engine.resume(case.keys[0], "yes")
    with pytest.raises(AlreadyAnswered):
        await swarm.engine.resume(case.keys[0], "no")


async def test_versions_grow_and_events_follow_every_step(swarm: Swarm) -> None:
    """Each change of a task is a greater version and at least one event."""
    work = await swarm.external()
    key = await swarm.engine.query_senior(work.handle, work.task_id, "?")
    await swarm.engine.resume(key, 1)
    await swarm.submit(work)

    assert await swarm.kinds(work.task_id) == [
        "task_created",
        "task_attempt_started",
        "senior_queried",
        "task_suspended",
        "senior_answered",
        "task_resumed",
        "worker_output",
        "task_attempt_completed",
        "task_pass",
    ]
