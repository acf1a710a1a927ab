"""How attempts and tasks end, whatever the cause: the one place that settles."""

from __future__ import annotations

from typing import Any

from app.domain.access import ENGINE
from app.domain.attempts import Attempt, Outcome, Phase, Reason
from app.domain.events import EventKind
from app.domain.json import Json
from app.domain.outputs import Final
from app.domain.questions import Question, QuestionStatus
from app.domain.tasks import SETTLED, RetryOn, Status, Step, Task, step
from app.engine.ops import spans
from app.engine.ops.queries import OPEN_QUESTIONS, lock_task
from app.engine.ops.tasks import change, write
from app.state.rows import changed
from app.state.state import State
from app.state.tables import ATTEMPTS, QUESTIONS

_SETTLED_EVENT = {
    Status.PASS: EventKind.TASK_PASS,
    Status.BLOCKED: EventKind.TASK_BLOCKED,
    Status.CANCELLED: EventKind.TASK_CANCELLED,
}
_STEP = {
    Reason.FINAL: Step.FINAL_FAILED,
    Reason.SPAWN_FAILED: Step.SPAWN_FAILED,
    Reason.REFUSED: Step.SPAWN_FAILED,
    Reason.TIMEOUT: Step.ATTEMPT_TIMEOUT,
    Reason.LOST: Step.LEASE_LOST,
}
"""What an attempt's bad end does to its task; `worker_failed` for every other reason."""

_RETRY_ON = {
    Reason.FINAL: RetryOn.BLOCKED,
    Reason.SPAWN_FAILED: RetryOn.FAILED,
    Reason.REFUSED: RetryOn.FAILED,
    Reason.WORKER_FAILED: RetryOn.FAILED,
    Reason.TIMEOUT: RetryOn.TIMEOUT,
    Reason.LOST: RetryOn.LOST,
}
"""Which ends a retry policy may cover. Verdicts and revocations are never retried."""

_OUTCOME_OF = {Status.PASS: Outcome.PASS, Status.BLOCKED: Outcome.BLOCKED, Status.CANCELLED: Outcome.CANCELLED}
_WAITS_FOR_ANSWER = (Reason.SPAWN_FAILED, Reason.REFUSED, Reason.LOST)
"""Ends that leave a suspended task suspended: the answer is kept for the next attempt, and decides when it starts."""


# Attempts


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
    """Close an attempt: its clocks stop, its credentials are spent, its driver is woken.

    It stays `finishing` until its driver, in this server process or a later one, has done what is left: stopped its
    worker, unless that ended by itself (`worker_gone`), and run its layers' steps.
    """
    unfinished = attempt.steps or not (worker_gone or attempt.detached)
    changes |= {
        "phase": Phase.FINISHING if unfinished else Phase.ENDED,
        "outcome": outcome,
        "reason": reason,
        "detail": detail,
        "ended_at": state.now,
        "due_at": None,
        "paused_at": None,
    }
    ATTEMPTS.update(state.db, attempt.task_id, attempt.attempt, **changes)
    if state.writes_spans:
        spans.attempt_ended(state, attempt, changes)
    state.emit(
        EventKind.TASK_ATTEMPT_COMPLETED,
        namespace=attempt.namespace,
        task_id=attempt.task_id,
        attempt=attempt.attempt,
        session_id=attempt.session_id,
        outcome=outcome,
        reason=reason,
        **({"detail": detail} if detail else {}),
    )
    state.wake(f"attempt:{attempt.task_id}")


def end_live(state: State, task: Task, reason: Reason, status: Status, detail: str | None = None) -> None:
    """End the live attempt of a task, if it has one, because the task gets this status."""
    if not task.live:
        return
    attempt = ATTEMPTS.get(state.db, task.id, task.attempt)
    if attempt is not None and attempt.is_live:
        end_attempt(state, attempt, outcome=_OUTCOME_OF[status], reason=reason, detail=detail)


def finish_attempt(state: State, task_id: str, number: int) -> None:
    """Mark a `finishing` attempt as ended: its worker is stopped, and its layers' steps have run."""
    attempt = ATTEMPTS.lock(state.db, task_id, number)
    if attempt is not None and attempt.phase is Phase.FINISHING:
        ATTEMPTS.update(state.db, task_id, number, phase=Phase.ENDED)
        state.wake(f"attempt:{task_id}")


def pass_or_block(
    state: State, task: Task, attempt: Attempt, final: Final, columns: dict[str, Any], *, worker_gone: bool = False
) -> None:
    """End a live attempt with its Final, writing these columns too: the task passes, is blocked, or is retried."""
    outcome = Outcome.PASS if final.ok else Outcome.BLOCKED
    reason = Reason.WORKER_FAILED if final.failed else Reason.FINAL
    end_attempt(state, attempt, outcome=outcome, reason=reason, worker_gone=worker_gone, **columns)
    is_own = final.value is columns.get("final", attempt.final)
    result = result_of(attempt) if is_own else stored(final.value)
    if final.ok:
        settle_task(state, task, step(task.id, task.status, Step.FINAL_OK), result=result)
    else:
        _block_or_retry(state, task, attempt, reason=reason, result=result)


def fail_attempt(
    state: State, task: Task, attempt: Attempt, reason: Reason, detail: str | None, *, worker_gone: bool = False
) -> None:
    """End a live attempt without a Final: the task is blocked, retried by its policy, or goes on waiting for a senior.

    `worker_gone`: nothing of its worker is left to be stopped.
    """
    outcome = Outcome.TIMEOUT if reason is Reason.TIMEOUT else Outcome.BLOCKED
    end_attempt(state, attempt, outcome=outcome, reason=reason, detail=detail, worker_gone=worker_gone)
    if task.status is Status.SUSPENDED and reason in _WAITS_FOR_ANSWER:
        change(state, task, live=False)
    else:
        _block_or_retry(state, task, attempt, reason=reason, result=failure(reason, detail))


def lose_attempt(state: State, task: Task, attempt: Attempt, detail: str, *, worker_gone: bool = False) -> None:
    """End a live attempt whose worker is lost."""
    state.emit(EventKind.LEASE_LOST, namespace=task.namespace, task_id=task.id, attempt=attempt.attempt, detail=detail)
    fail_attempt(state, task, attempt, Reason.LOST, detail, worker_gone=worker_gone)


def lose_orphan(state: State, task_id: str, number: int, detail: str) -> None:
    """End an attempt, if it is live, whose worker died with an earlier server process; it is reaped already."""
    task = lock_task(state, task_id, ENGINE)
    attempt = ATTEMPTS.get(state.db, task_id, number)
    if attempt is not None and attempt.is_live and attempt.phase is not Phase.HELD:
        lose_attempt(state, task, attempt, detail, worker_gone=True)


def expire_attempt(state: State, task_id: str, number: int) -> None:
    """End a live attempt whose timeout, lease or handle ran out. Nothing when it is not due any more."""
    task = lock_task(state, task_id, ENGINE)
    attempt = ATTEMPTS.get(state.db, task_id, number)
    if attempt is None or not attempt.is_live or attempt.due_at is None or attempt.due_at > state.now:
        return
    if attempt.timeout_at is not None and attempt.timeout_at <= state.now:
        state.emit(EventKind.ATTEMPT_TIMED_OUT, namespace=task.namespace, task_id=task_id, attempt=number)
        fail_attempt(state, task, attempt, Reason.TIMEOUT, "the attempt timeout passed")
        return
    lose_attempt(state, task, attempt, _why_lost(state, attempt))


def _why_lost(state: State, attempt: Attempt) -> str:
    if attempt.credential_ends_at is not None and attempt.credential_ends_at <= state.now:
        return "the token that dispatched it expired"
    if attempt.lease_expires_at is not None and attempt.lease_expires_at <= state.now:
        return "its worker sent no heartbeat within its lease"
    return "its handle expired unused"


# Tasks

Result = dict[str, Any]
"""The columns of a task's row that make up its result."""
UNCHANGED: Result = {}


def stored(value: Json | None) -> Result:
    """Return the columns of a result that is stored with the task."""
    return {"last_result": value, "result_of": None}


def result_of(attempt: Attempt) -> Result:
    """Return the columns of a result that is the attempt's Final, which is not stored again."""
    return {"last_result": None, "result_of": attempt.attempt}


def settle_task(state: State, task: Task, status: Status, *, result: Result, **data: Any) -> None:
    """Bring the task to a settled status: open questions are withdrawn, waiters woken, the event emitted."""
    write(state, task, **_settled(state, task, status, result, data))


def settled_task(state: State, task: Task, status: Status, *, result: Result, **data: Any) -> Task:
    """Settle the task as `settle_task` does, and return it."""
    return change(state, task, **_settled(state, task, status, result, data))


def _settled(state: State, task: Task, status: Status, result: Result, data: dict[str, Any]) -> dict[str, Any]:
    """Do what goes with settling a task, and return the fields that its row gets."""
    assert status in SETTLED  # noqa: S101 - every caller passes a constant
    if task.open_questions:
        withdraw_questions(state, task, f"the task is {status.value}")
    state.emit(
        _SETTLED_EVENT[status],
        namespace=task.namespace,
        task_id=task.id,
        session_id=task.session_id,
        attempt=task.attempt,
        **data,
    )
    return {
        "status": status,
        "live": False,
        **result,
        "open_questions": 0,
        "retry_at": None,
        "settled_at": state.now,
    }


def settle_after_answer(state: State, task: Task, attempt: Attempt) -> None:
    """Give the end of the latest attempt its effect, now that the last question of its task is answered.

    It ended badly before or while the senior was asked. The answer is kept for the next attempt.
    """
    reason = attempt.reason or Reason.LOST
    result = UNCHANGED if reason is Reason.FINAL else failure(reason, attempt.detail)
    _block_or_retry(state, task, attempt, reason=reason, result=result)


def block_at_deadline(state: State, task: Task, key: str) -> None:
    """Block a suspended task, and end its live attempt, because a question was not answered in time."""
    after = step(task.id, task.status, Step.DEADLINE_BLOCK)
    attempt = ATTEMPTS.get(state.db, task.id, task.attempt) if task.attempt else None
    if attempt is not None and attempt.is_live:
        detail = f"{key} was not answered"
        end_attempt(state, attempt, outcome=Outcome.BLOCKED, reason=Reason.DEADLINE, detail=detail)
    result = failure(Reason.DEADLINE, f"question {key} was not answered in time")
    settle_task(state, task, after, result=result, reason=Reason.DEADLINE.value, key=key)


def give_up_retry(state: State, task_id: str, reason: Reason, detail: str) -> None:
    """Block a task whose planned attempt cannot be prepared. Nothing when none is planned any more."""
    task = lock_task(state, task_id, ENGINE)
    if task.retry_at is not None and task.status is Status.RUNNING:
        after = step(task.id, task.status, Step.SPAWN_FAILED)
        settle_task(state, task, after, result=failure(reason, detail), reason=reason.value)


def withdraw_questions(state: State, task: Task, reason: str) -> None:
    """Close every open question of the task. The caller writes the task's count."""
    for question in OPEN_QUESTIONS.all(state.db, task_id=task.id):
        withdraw_question(state, task, question, reason)


def withdraw_question(state: State, task: Task, question: Question, reason: str | None, **data: Any) -> Question:
    """Close an open question without an answer, and return it. The caller writes the task's count."""
    closed = {
        "status": QuestionStatus.WITHDRAWN,
        "reason": reason,
        "answered_at": state.now,
        "due_at": None,
        "remind_at": None,
    }
    QUESTIONS.update(state.db, question.key, **closed)
    why = {} if reason is None else {"reason": reason}
    state.emit(
        EventKind.QUESTION_WITHDRAWN,
        namespace=task.namespace,
        task_id=task.id,
        attempt=question.attempt,
        key=question.key,
        **why,
        **data,
    )
    state.wake(f"question:{question.key}")
    withdrawn = changed(question, **closed)
    spans.question_settled(state, task, withdrawn)
    return withdrawn


def failure(reason: Reason, detail: str | None) -> Result:
    """Return the result of a task whose attempt ended without one."""
    return stored(Json.of({"reason": reason.value, "detail": detail}))


def _block_or_retry(state: State, task: Task, attempt: Attempt, *, reason: Reason, result: Result) -> None:
    """Block the task, or plan its next attempt if its retry policy covers this end."""
    after = step(task.id, task.status, _STEP.get(reason, Step.WORKER_FAILED))
    policy = task.retry_policy()
    ending = _RETRY_ON.get(reason)
    if policy is None or ending is None or not attempt.repeatable or not policy.covers(attempt.attempt, ending.value):
        settle_task(state, task, after, result=result, reason=reason.value)
        return
    _wait_for_retry(state, task, result=result, retry_at=state.now + policy.delay_ms(attempt.attempt, state.jitter()))


def _wait_for_retry(state: State, task: Task, *, result: Result, retry_at: int) -> None:
    """Keep the task running, without a live attempt, until the engine dispatches it again."""
    if task.open_questions:
        withdraw_questions(state, task, "the attempt that asked is over")
    state.emit(
        EventKind.TASK_RETRY_SCHEDULED,
        namespace=task.namespace,
        task_id=task.id,
        session_id=task.session_id,
        attempt=task.attempt,
        retry_at=retry_at,
    )
    state.due(retry_at)
    write(state, task, status=Status.RUNNING, live=False, **result, open_questions=0, retry_at=retry_at)
