"""Questions to seniors: asking, answering, withdrawing, and what a deadline does."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa

from app.domain.access import Caller, Role, Verb
from app.domain.attempts import Attempt, Outcome, Phase, Reason
from app.domain.errors import (
    AlreadyAnswered,
    QuestionClosed,
    ResumeKeyNotFound,
    RoleViolation,
    TokenTaskMismatch,
)
from app.domain.events import EventKind
from app.domain.json import Json
from app.domain.outputs import Final
from app.domain.questions import Ask, OnDeadline, Purpose, Question, QuestionStatus, check_answer
from app.domain.tasks import Step, Task, step
from app.engine.ops import clocks, finals, suspension
from app.engine.ops.access import bound_rows, is_below, lock_task, own, require_live, session_of
from app.engine.ops.attempts import facts_for
from app.engine.ops.endings import block_or_retry, change, end_attempt, failure, settle
from app.spawning import stack
from app.spawning.ports import LayerRegistry
from app.state import schema
from app.state.state import State
from app.state.statements import Statement
from app.state.tables import ATTEMPTS, QUESTIONS, SESSIONS

_Q = schema.questions.c
DUE = QUESTIONS.search(_Q.due_at <= sa.bindparam("now"), order=(_Q.due_at,), limit=True)
ADDRESSED = QUESTIONS.search(
    _Q.status == QuestionStatus.OPEN.value,
    sa.or_(_Q.bridge_id == sa.bindparam("bridge_id"), _Q.bridge_id.is_(None)),
    _Q.key > sa.bindparam("after"),
    order=(_Q.key,),
    limit=True,
)
_COUNT_ADDRESSED = Statement(
    sa.select(sa.func.count()).where(_Q.status == QuestionStatus.OPEN.value, _Q.bridge_id == sa.bindparam("of_bridge"))
)
_COUNT_UNADDRESSED = Statement(
    sa.select(sa.func.count()).where(_Q.status == QuestionStatus.OPEN.value, _Q.bridge_id.is_(None))
)


_ESCALATED = QUESTIONS.search(
    _Q.task_id == sa.bindparam("task_id"),
    _Q.attempt == sa.bindparam("number"),
    _Q.purpose == Purpose.ESCALATION.value,
    order=(_Q.key.desc(),),
)


def count_open(state: State, bridge_id: str, *, addressed_only: bool) -> int:
    """How many open questions are addressed to the bridge, or also to no bridge in particular."""
    count = int(_COUNT_ADDRESSED.query(state.db, of_bridge=bridge_id)[0][0])
    return count if addressed_only else count + int(_COUNT_UNADDRESSED.query(state.db)[0][0])


def ask(state: State, caller: Caller, task_id: str | None, asked: Ask) -> Question:
    """Create a question and suspend the task. A worker asks about its own task only.

    Raises TokenTaskMismatch, TaskNotFound, InvalidTransition, InvalidRequest, and the conflicts of a spent credential.
    """
    asked.check()
    if caller.role is Role.WORKER:
        reach = bound_rows(state, caller)
        if task_id is not None and task_id != reach.task.id:
            own(state, caller, task_id, Verb.QUERY_SENIOR)
            raise TokenTaskMismatch(task_id)
        require_live(reach)
        task, attempt = reach.task, reach.attempt
    else:
        task = lock_task(state, task_id or "")
        attempt = ATTEMPTS.get(state.db, task.id, task.attempt) if task.attempt else None
    return suspension.put(
        state,
        task,
        attempt,
        asked,
        purpose=Purpose.ASK,
        asked_by=caller.subject,
        asker_role=caller.role.value,
        bridge_id=_bridge_of(state, caller, attempt),
    )


def _bridge_of(state: State, caller: Caller, attempt: Attempt | None) -> str | None:
    """The bridge of the asker's session: a worker asks in the session that dispatched it."""
    session_id = session_of(state, caller)
    if session_id is None and attempt is not None:
        session_id = attempt.session_id
    session = SESSIONS.get(state.db, session_id) if session_id else None
    return session.bridge_id if session else None


def _locked(state: State, key: str) -> tuple[Task, Question]:
    """The question with its task held; the question is read again under the task's lock."""
    found = QUESTIONS.get(state.db, key)
    if found is None:
        raise ResumeKeyNotFound(key)
    task = lock_task(state, found.task_id)
    question = QUESTIONS.get(state.db, key)
    if question is None:
        raise ResumeKeyNotFound(key)
    return task, question


def answer(
    state: State,
    layers: LayerRegistry,
    caller: Caller,
    key: str,
    value: Json,
    *,
    connected_as: str | None = None,
) -> Question:
    """Compare-and-set: the first answer wins, the same again changes nothing.

    Raises ResumeKeyNotFound, RoleViolation, AlreadyAnswered, QuestionClosed, AnswerInvalid (the question stays open).
    """
    task, question = _locked(state, key)
    require_may_answer(state, caller, question, connected_as)
    if question.status is QuestionStatus.ANSWERED:
        if question.answer == value:
            return question
        raise AlreadyAnswered(key, question.answered_by)
    if question.status is not QuestionStatus.OPEN:
        raise QuestionClosed(key, question.status.value)
    check_answer(key, value.value, question.answer_schema, question.choices)
    return _settle_answer(state, layers, task, question, value, caller.subject)


def require_may_answer(state: State, caller: Caller, question: Question, connected_as: str | None) -> None:
    """Operators answer only what is addressed to a backend of theirs; nobody below the asker answers at all."""
    if caller.role is Role.OPERATOR and caller.via != "engine":
        session_id = session_of(state, caller)
        session = SESSIONS.get(state.db, session_id) if session_id else None
        held = session.backend_ids if session is not None else frozenset[str]()
        if question.bridge_id is None or question.bridge_id not in {connected_as, *held}:
            raise RoleViolation(caller.role.value, f"{Verb.ANSWER_QUERY.value} for a question of another bridge")
    if caller.task_id is not None and (
        caller.task_id == question.task_id or is_below(state, caller.task_id, question.task_id)
    ):
        raise RoleViolation(caller.role.value, f"{Verb.ANSWER_QUERY.value} for a question asked above it")


def _settle_answer(
    state: State, layers: LayerRegistry, task: Task, question: Question, value: Json, by: str
) -> Question:
    changes: dict[str, Any] = {
        "status": QuestionStatus.ANSWERED,
        "answer": value,
        "answered_by": by,
        "answered_at": state.now,
        "due_at": None,
    }
    QUESTIONS.update(state.db, question.key, **changes)
    state.wake(f"question:{question.key}")
    suspension.emit(state, EventKind.SENIOR_ANSWERED, question, task, by=by)
    task = change(state, task, open_questions=task.open_questions - 1)
    if task.open_questions == 0:
        _resume(state, layers, task, question)
    return question._replace(**changes)


def _resume(state: State, layers: LayerRegistry, task: Task, question: Question) -> None:
    """The last open question is settled: the task runs again, and what waited behind it happens."""
    task = change(state, task, status=step(task.id, task.status, Step.RESUME))
    suspension.emit(state, EventKind.TASK_RESUMED, question, task)
    attempt = ATTEMPTS.get(state.db, task.id, task.attempt) if task.attempt else None
    if attempt is None:
        return
    if attempt.phase is Phase.HELD:
        _release(state, layers, task, attempt)
    elif attempt.is_live:
        clocks.resume(state, attempt)
    else:
        _go_on_after(state, task, attempt)
    state.wake(f"attempt:{task.id}")


def _go_on_after(state: State, task: Task, attempt: Attempt) -> None:
    """The attempt ended badly before or while the senior thought; now its ending has its effect: blocked, or retried.

    The answer is kept for the next attempt.
    """
    reason = attempt.reason or Reason.LOST
    if reason is Reason.FINAL:
        block_or_retry(state, task, attempt, what=Step.FINAL_FAILED, result=task.last_result, reason=reason)
    else:
        result = failure(reason, attempt.detail)
        block_or_retry(state, task, attempt, what=Step.WORKER_FAILED, result=result, reason=reason)


def _release(state: State, layers: LayerRegistry, task: Task, attempt: Attempt) -> None:
    """The senior has answered the layer's question (perhaps others since): the held Final gets its meaning."""
    original = Final(value=attempt.final or Json("null"), ok=bool(attempt.final_ok))
    facts = facts_for(state, task, attempt)
    asked = _ESCALATED.first(state.db, task_id=task.id, number=attempt.attempt)
    answer = asked.answer if asked is not None and asked.answer is not None else Json("null")
    decision = stack.resolve(layers, facts, attempt.held_by or "", original, answer)
    finals.conclude(state, task, attempt, decision, {})


def expire(state: State, layers: LayerRegistry, key: str) -> None:
    """Do what the question's deadline says. Nothing when it is not due any more."""
    task, question = _locked(state, key)
    if question.status is not QuestionStatus.OPEN or question.due_at is None or question.due_at > state.now:
        return
    match question.on_deadline:
        case OnDeadline.DEFAULT:
            _settle_answer(state, layers, task, question, question.default_answer or Json("null"), "deadline")
        case OnDeadline.ESCALATE:
            QUESTIONS.update(state.db, key, bridge_id=question.escalate_to, due_at=None)
            suspension.emit(state, EventKind.QUESTION_ESCALATED, question, task, to=question.escalate_to)
            change(state, task)
        case OnDeadline.BLOCK:
            _block(state, task, question)
        case OnDeadline.KEEP_WAITING:
            QUESTIONS.update(state.db, key, due_at=None)


def _block(state: State, task: Task, question: Question) -> None:
    after = step(task.id, task.status, Step.DEADLINE_BLOCK)
    QUESTIONS.update(
        state.db,
        question.key,
        status=QuestionStatus.EXPIRED,
        reason="its deadline passed",
        answered_at=state.now,
        due_at=None,
    )
    state.wake(f"question:{question.key}")
    suspension.emit(state, EventKind.QUESTION_EXPIRED, question, task)
    attempt = ATTEMPTS.get(state.db, task.id, task.attempt) if task.attempt else None
    if attempt is not None and attempt.is_live:
        end_attempt(
            state, attempt, outcome=Outcome.BLOCKED, reason=Reason.DEADLINE, detail=f"{question.key} was not answered"
        )
    result = Json.of({"reason": Reason.DEADLINE.value, "detail": f"question {question.key} was not answered in time"})
    settle(state, task, after, result=result, reason=Reason.DEADLINE.value, key=question.key)


def mark_delivered(state: State, keys: list[str], bridge_id: str) -> None:
    """Note that a bridge has shown these questions. For `why`; changes nothing else."""
    for key in keys:
        question = QUESTIONS.lock(state.db, key)
        if question is None:
            continue
        seen: list[str] = question.delivered_to.value
        if bridge_id not in seen:
            QUESTIONS.update(state.db, key, delivered_to=Json.of([*seen, bridge_id]))
