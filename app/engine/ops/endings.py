"""How attempts and tasks end: the one place that settles, whatever the cause."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa

from app.domain.attempts import DETACHED, Attempt, Outcome, Phase, Reason
from app.domain.events import EventKind
from app.domain.json import Json
from app.domain.questions import QuestionStatus
from app.domain.tasks import SETTLED, RetryOn, Status, Step, Task, step
from app.state import schema
from app.state.state import State
from app.state.tables import ATTEMPTS, QUESTIONS, TASKS

_Q = schema.questions.c
OPEN_QUESTIONS = QUESTIONS.search(
    _Q.task_id == sa.bindparam("task_id"), _Q.status == QuestionStatus.OPEN.value, order=(_Q.key,)
)

_SETTLED_EVENT = {
    Status.PASS: EventKind.TASK_PASS,
    Status.BLOCKED: EventKind.TASK_BLOCKED,
    Status.CANCELLED: EventKind.TASK_CANCELLED,
}
_RETRY_ON = {
    Reason.FINAL: RetryOn.BLOCKED,
    Reason.SPAWN_FAILED: RetryOn.FAILED,
    Reason.REFUSED: RetryOn.FAILED,
    Reason.WORKER_FAILED: RetryOn.FAILED,
    Reason.TIMEOUT: RetryOn.TIMEOUT,
    Reason.LOST: RetryOn.LOST,
}
"""Which endings a retry policy may cover. Decisions from above (a verdict, a revocation) are never tried again."""


def change(state: State, task: Task, **changes: Any) -> Task:
    """Write the task under a new version and wake who waits for it."""
    version = task.version + 1
    TASKS.update(state.db, task.id, **changes, version=version, updated_at=state.now)
    state.wake(f"task:{task.id}")
    return task._replace(**changes, version=version, updated_at=state.now)


def end_attempt(
    state: State,
    attempt: Attempt,
    *,
    outcome: Outcome,
    reason: Reason,
    detail: str | None = None,
    worker_gone: bool = False,
    **changes: Any,
) -> None:
    """Close an attempt: its clocks stop, its credentials are spent, its driver is told.

    It stays `finishing` until its driver, in this server process or a later one, has carried out what is left to do:
    stopping its worker, unless that ended by itself (`worker_gone`), and the steps of its layers.
    """
    left_to_do = attempt.steps or not (worker_gone or attempt.kind in DETACHED)
    ATTEMPTS.update(
        state.db,
        attempt.task_id,
        attempt.attempt,
        phase=Phase.FINISHING if left_to_do else Phase.ENDED,
        outcome=outcome,
        reason=reason,
        detail=detail,
        ended_at=state.now,
        due_at=None,
        paused_at=None,
        **changes,
    )
    state.emit(
        EventKind.TASK_ATTEMPT_COMPLETED,
        task_id=attempt.task_id,
        attempt=attempt.attempt,
        session_id=attempt.session_id,
        outcome=outcome.value,
        reason=reason.value,
        **({"detail": detail} if detail else {}),
    )
    state.wake(f"attempt:{attempt.task_id}")


def settle(state: State, task: Task, status: Status, *, result: Json | None, **data: Any) -> Task:
    """Bring the task to a settled status: open questions are withdrawn, waiters woken, the event appended."""
    assert status in SETTLED  # noqa: S101 - every caller passes a constant
    if task.open_questions:
        withdraw_all(state, task, f"the task is {status.value}")
    state.emit(_SETTLED_EVENT[status], task_id=task.id, session_id=task.session_id, attempt=task.attempt, **data)
    return change(
        state,
        task,
        status=status,
        live=False,
        last_result=result,
        open_questions=0,
        retry_at=None,
        settled_at=state.now,
    )


def withdraw_all(state: State, task: Task, reason: str) -> None:
    """Close every open question of the task. The caller writes the task's count."""
    for question in OPEN_QUESTIONS.all(state.db, task_id=task.id):
        QUESTIONS.update(
            state.db,
            question.key,
            status=QuestionStatus.WITHDRAWN,
            reason=reason,
            answered_at=state.now,
            due_at=None,
        )
        state.emit(
            EventKind.QUESTION_WITHDRAWN, task_id=task.id, attempt=question.attempt, key=question.key, reason=reason
        )
        state.wake(f"question:{question.key}")


def fail(
    state: State,
    task: Task,
    attempt: Attempt,
    *,
    what: Step,
    outcome: Outcome,
    reason: Reason,
    detail: str | None,
    worker_gone: bool = False,
) -> None:
    """End a live attempt badly: the task is blocked, or waits to be dispatched again by its retry policy."""
    end_attempt(state, attempt, outcome=outcome, reason=reason, detail=detail, worker_gone=worker_gone)
    block_or_retry(state, task, attempt, what=what, result=failure(reason, detail), reason=reason)


def end_while_suspended(
    state: State, task: Task, attempt: Attempt, *, reason: Reason, detail: str | None, worker_gone: bool = False
) -> None:
    """End a live attempt badly whose task waits for a senior: it goes on waiting.

    The answer is kept for the next attempt; when the last one has come, the ending has its effect.
    """
    end_attempt(state, attempt, outcome=Outcome.BLOCKED, reason=reason, detail=detail, worker_gone=worker_gone)
    change(state, task, live=False)


def failure(reason: Reason, detail: str | None) -> Json:
    """The result of a task whose attempt left none."""
    return Json.of({"reason": reason.value, "detail": detail})


def block_or_retry(
    state: State, task: Task, attempt: Attempt, *, what: Step, result: Json | None, reason: Reason
) -> None:
    """Do what follows an attempt that was not good: block the task, or plan the next one by its retry policy."""
    after = step(task.id, task.status, what)
    policy = task.retry_policy()
    ending = _RETRY_ON.get(reason)
    if policy is None or ending is None or not attempt.repeatable or not policy.covers(attempt.attempt, ending.value):
        settle(state, task, after, result=result, reason=reason.value)
        return
    retry_at = state.now + policy.delay_ms(attempt.attempt, state.spread())
    wait_for_retry(state, task, result=result, retry_at=retry_at)


def wait_for_retry(state: State, task: Task, *, result: Json | None, retry_at: int) -> None:
    """Keep the task running, without a live attempt, until the engine dispatches it again."""
    if task.open_questions:
        withdraw_all(state, task, "the attempt that asked is over")
    state.emit(
        EventKind.TASK_RETRY_SCHEDULED,
        task_id=task.id,
        session_id=task.session_id,
        attempt=task.attempt,
        retry_at=retry_at,
    )
    state.due(retry_at)
    change(state, task, status=Status.RUNNING, live=False, last_result=result, open_questions=0, retry_at=retry_at)
