"""Questions to seniors: ask, answer, and do what a deadline says."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import sqlalchemy as sa

from app.domain.access import ENGINE, Caller, Role, Verb
from app.domain.attempts import Attempt, Phase
from app.domain.clock import to_rfc3339
from app.domain.doors import ANSWERING, CONSOLE, Door
from app.domain.errors import (
    AlreadyAnswered,
    DefaultRefused,
    DoorNotAllowed,
    InvalidRequest,
    InvalidTransition,
    QuestionClosed,
    QuotaExceeded,
    ResumeKeyNotFound,
    RoleViolation,
    TokenTaskMismatch,
)
from app.domain.events import EventKind
from app.domain.json import NULL, Json
from app.domain.names import check_optional
from app.domain.questions import (
    Ask,
    OnDeadline,
    Purpose,
    Question,
    QuestionRules,
    QuestionStatus,
    check_answer,
    check_comment,
    check_decision,
)
from app.domain.tasks import Step, Task, TaskSpec, step
from app.engine.ops import audit, cancelling, finals, held_ids, leases, skill_approvals, spans, suspension
from app.engine.ops.access import bound_rows, descends_from, require_access, require_live, session_of
from app.engine.ops.principals import answered_through, may_be_asked, require_no_asker
from app.engine.ops.queries import lock_task, reaches
from app.engine.ops.rules import EngineCfg
from app.engine.ops.settling import block_at_deadline, settle_after_answer, settle_task, stored, withdraw_question
from app.engine.ops.tasks import change, start, write
from app.spawning.ports import LayerRegistry
from app.state import schema
from app.state.state import State
from app.state.statements import Statement
from app.state.tables import ATTEMPTS, QUESTIONS, SESSIONS, TASKS

_Q = schema.questions.c
_TASK_OF_QUESTION = TASKS.search(
    schema.tasks.c.id == sa.select(_Q.task_id).where(_Q.key == sa.bindparam("key")).scalar_subquery(), lock=True
)
_OPEN = (_Q.namespace == sa.bindparam("of_namespace"), _Q.status == QuestionStatus.OPEN.value)
_COUNT_ADDRESSED = Statement(sa.select(sa.func.count()).where(*_OPEN, _Q.bridge_id == sa.bindparam("of_bridge")))
_COUNT_UNADDRESSED = Statement(sa.select(sa.func.count()).where(*_OPEN, _Q.bridge_id.is_(None)))


_ANSWERED_ALONE = QUESTIONS.search(
    _Q.task_id == sa.bindparam("task_id"),
    _Q.settles_task == sa.text("1"),
    _Q.status == QuestionStatus.ANSWERED.value,
)

KIND = "ask"
"""The value of the label `kind` of tasks that were made for a question, and their agent unless another is named."""
_NO_PROOF: Mapping[str, str] = {}
BY_DEADLINE = Json.of({"door": Door.DEADLINE.value})


def count_open(state: State, namespace: int, bridge_id: str, *, addressed_only: bool) -> int:
    """Return how many open questions are addressed to the bridge, including those to any unless `addressed_only`."""
    count = int(_COUNT_ADDRESSED.query(state.db, of_namespace=namespace, of_bridge=bridge_id)[0][0])
    return count if addressed_only else count + int(_COUNT_UNADDRESSED.query(state.db, of_namespace=namespace)[0][0])


def ask(state: State, cfg: EngineCfg, caller: Caller, task_id: str | None, asked: Ask) -> Question:
    """Create a question and suspend the task. A worker asks about its own task only, which is a heartbeat.

    Raises TokenTaskMismatch, TaskNotFound, InvalidTransition, InvalidName, InvalidRequest, DefaultRefused,
    PayloadTooLarge, QuotaExceeded, and the conflicts of a spent credential.
    """
    _check(cfg, caller, asked)
    if caller.role is Role.WORKER:
        worker = bound_rows(state, caller)
        if task_id is not None and task_id != worker.task.id:
            require_access(state, caller, task_id, Verb.QUERY_SENIOR)
            raise TokenTaskMismatch(task_id)
        require_live(worker)
        task, attempt = worker.task, leases.record_heartbeat(state, cfg, worker.attempt, always=True)
    else:
        task = lock_task(state, task_id or "", caller)
        attempt = ATTEMPTS.get(state.db, task.id, task.attempt) if task.attempt else None
    if task.open_questions >= cfg.limits.open_questions:
        raise QuotaExceeded("open_questions", cfg.limits.open_questions)
    return _suspend(state, caller, task, attempt, asked)


def ask_alone(
    state: State, cfg: EngineCfg, caller: Caller, asked: Ask, *, agent: str, labels: Mapping[str, str]
) -> Question:
    """Create a question with a task of its own, which no attempt works on and which the answer passes.

    The task has the label `kind:ask`; a worker's is a child of its own task. Raises what `ask` and `tasks.start` raise.
    """
    _check(cfg, caller, asked)
    if labels.get("kind", KIND) != KIND:
        raise InvalidRequest(f"the label kind is {KIND} here; leave it out", "labels")
    said = asked.title or asked.question.value
    spec = TaskSpec(
        agent=agent,
        initial_directive=said if isinstance(said, str) else asked.question.text,
        labels={**labels, "kind": KIND},
    )
    task = start(state, cfg, caller, spec, expands=False)
    return _suspend(state, caller, task, None, asked, settles_task=True)


def _check(cfg: EngineCfg, caller: Caller, asked: Ask) -> None:
    asked.check_size(cfg.limits.question_bytes)
    asked.check()
    check_optional(asked.bridge_id, "bridge_id")
    check_optional(asked.escalate_to, "escalate_to")
    check_optional(asked.title, "title")
    if caller.role is Role.WORKER and asked.on_deadline is OnDeadline.DEFAULT and not cfg.questions.worker_default:
        raise DefaultRefused


def _suspend(
    state: State, caller: Caller, task: Task, attempt: Attempt | None, asked: Ask, *, settles_task: bool = False
) -> Question:
    return suspension.suspend(
        state,
        task,
        attempt,
        asked,
        purpose=Purpose.ASK,
        asked_by=caller.subject,
        asker_role=caller.role.value,
        asker_keys=caller.keys,
        bridge_id=_bridge_of(state, caller, attempt),
        settles_task=settles_task,
    )


def _bridge_of(state: State, caller: Caller, attempt: Attempt | None) -> str | None:
    """Return the bridge of the asker's session; a worker asks in the session that dispatched it."""
    session_id = session_of(state, caller)
    if session_id is None and attempt is not None:
        session_id = attempt.session_id
    session = SESSIONS.get(state.db, session_id) if session_id else None
    return session.bridge_id if session else None


def locked(state: State, caller: Caller, key: str) -> tuple[Task, Question]:
    """Return the question with its task locked; the question is read under that lock."""
    task = _TASK_OF_QUESTION.first(state.db, key=key)
    question = None if task is None or not reaches(caller, task.namespace) else QUESTIONS.get(state.db, key)
    if task is None or question is None:
        raise ResumeKeyNotFound(key)
    if task.trace is not None:
        state.carry_trace(task.id, task.trace)
    return task, question


def answer(
    state: State,
    layers: LayerRegistry,
    rules: QuestionRules,
    caller: Caller,
    key: str,
    value: Json,
    *,
    comment: str | None = None,
    connected_as: str | None = None,
    proof: Mapping[str, str] = _NO_PROOF,
) -> Question:
    """Answer a question by compare-and-set: the first answer wins, an equal one changes nothing.

    `proof` is recorded with the way by which the answer came. Raises ResumeKeyNotFound, RoleViolation, IdTaken,
    AskerCannotAnswer, DoorNotAllowed, AlreadyAnswered, QuestionClosed, AnswerInvalid (the question stays open).
    """
    task, question = locked(state, caller, key)
    require_may_answer(state, caller, question, connected_as)
    require_door(question, state.door)
    if question.status is QuestionStatus.ANSWERED:
        if question.answer == value and comment in (None, question.answer_comment):
            return question
        raise AlreadyAnswered(key, question.answered_by)
    if question.status is not QuestionStatus.OPEN:
        raise QuestionClosed(key, question.status.value)
    require_no_asker(state, rules, caller, question)
    check_answer(key, value, question.answer_schema, question.choices)
    check_comment(question, comment)
    check_decision(question, value)
    return _settle_answer(state, layers, task, question, value, caller, comment, proof)


def require_may_answer(state: State, caller: Caller, question: Question, connected_as: str | None) -> None:
    """Raise RoleViolation for an operator without the addressed bridge, and for a worker below the asker."""
    if caller.role is Role.OPERATOR and caller.via != "engine":
        session_id = session_of(state, caller)
        session = SESSIONS.get(state.db, session_id) if session_id else None
        held = session.backend_ids if session is not None else frozenset[str]()
        if question.bridge_id is None or question.bridge_id not in {connected_as, *held}:
            raise RoleViolation(caller.role.value, f"{Verb.ANSWER_QUERY.value} for a question of another bridge")
        held_ids.hold(state, question.namespace, question.bridge_id, caller.key_id)
    if caller.task_id is not None and (
        caller.task_id == question.task_id or descends_from(state, caller.task_id, question.task_id)
    ):
        raise RoleViolation(caller.role.value, f"{Verb.ANSWER_QUERY.value} for a question asked above it")


def is_offered(state: State, caller: Caller, question: Question, door: Door) -> bool:
    """Return whether the question is open and the door may put it to the caller, who is a person."""
    try:
        require_door(question, door)
    except DoorNotAllowed:
        return False
    return question.status is QuestionStatus.OPEN and may_be_asked(state, caller, question)


def require_door(question: Question, door: Door) -> None:
    """Raise DoorNotAllowed for a door by which the question is not to be answered."""
    allowed: list[str] | None = None if question.doors is None else question.doors.value
    if door is Door.LINK and question.require is not None:
        raise DoorNotAllowed(question.key, door.value, tuple(one for one in allowed or [CONSOLE] if one != door))
    if allowed is None or door.value in allowed or door not in ANSWERING:
        return
    if door not in (Door.REST, Door.WS) or CONSOLE not in allowed:
        raise DoorNotAllowed(question.key, door.value, tuple(allowed))


def _settle_answer(
    state: State,
    layers: LayerRegistry,
    task: Task,
    question: Question,
    value: Json,
    caller: Caller | None,
    comment: str | None = None,
    proof: Mapping[str, str] = _NO_PROOF,
) -> Question:
    """Store the answer of a caller, or of the deadline without one, and let the task go on."""
    by, through = "deadline", BY_DEADLINE
    if caller is not None:
        by, through = caller.subject, answered_through(state, caller, proof)
    changes: dict[str, Any] = {
        "status": QuestionStatus.ANSWERED,
        "answer": value,
        "answered_by": by,
        "answered_through": through,
        "answered_at": state.now,
        "answer_comment": comment,
        "due_at": None,
        "remind_at": None,
    }
    QUESTIONS.update(state.db, question.key, **changes)
    state.wake(f"question:{question.key}")
    suspension.emit(state, EventKind.SENIOR_ANSWERED, question, task, by=by, answered_through=through.value)
    said = {} if comment is None else {"comment": comment}
    detail = {"task_id": question.task_id, "attempt": question.attempt, **audit.value(value), **said, **proof}
    door = None if caller is not None else Door.DEADLINE
    audit.record(
        state,
        caller or by,
        "question_answered",
        target=question.key,
        namespace=question.namespace,
        door=door,
        **detail,
    )
    answered = question._replace(**changes)
    spans.question_settled(state, task, answered)
    if question.purpose is not Purpose.SKILL or skill_approvals.decide(state, task, question, value, caller):
        _close_one(state, layers, task, question)
    return answered


def _close_one(state: State, layers: LayerRegistry, task: Task, question: Question) -> None:
    """Let the task go on unless other questions are open, now that this one is closed."""
    if task.open_questions > 1:
        write(state, task, open_questions=task.open_questions - 1)
    else:
        _resume(state, layers, task, question)


def _resume(state: State, layers: LayerRegistry, task: Task, question: Question) -> None:
    """Let the task run again, now that its last open question is closed, and do what waited for that.

    A task that was made for a question has the answer as its result.
    """
    own = None if task.attempt else _ANSWERED_ALONE.first(state.db, task_id=task.id)
    if own is not None:
        after = step(task.id, task.status, Step.FINAL_OK)
        settle_task(state, task, after, result=stored(own.answer), by=own.answered_by, key=own.key)
        return
    task = change(state, task, status=step(task.id, task.status, Step.RESUME), open_questions=0)
    suspension.emit(state, EventKind.TASK_RESUMED, question, task)
    attempt = ATTEMPTS.get(state.db, task.id, task.attempt) if task.attempt else None
    if attempt is None:
        return
    if attempt.phase is Phase.HELD:
        finals.release(state, layers, task, attempt)
    elif attempt.is_live:
        leases.resume(state, attempt)
    else:
        settle_after_answer(state, task, attempt)
    state.wake(f"attempt:{task.id}")


def withdraw(state: State, layers: LayerRegistry, caller: Caller, key: str, reason: str | None) -> Question:
    """Close an open question without an answer: its task goes on, or is cancelled if it was made for the question.

    Withdrawing it again changes nothing. Raises ResumeKeyNotFound, TokenTaskMismatch, AlreadyAnswered, QuestionClosed
    (its deadline has passed), InvalidTransition (a layer asks whether a result stands).
    """
    task, question = locked(state, caller, key)
    require_access(state, caller, task.id, Verb.CANCEL_TASK)
    if question.status is QuestionStatus.ANSWERED:
        raise AlreadyAnswered(key, question.answered_by)
    if question.status is QuestionStatus.WITHDRAWN:
        return question
    if question.status is not QuestionStatus.OPEN:
        raise QuestionClosed(key, question.status.value)
    if question.purpose is not Purpose.ASK:
        raise InvalidTransition(
            task.id, task.status.value, "withdraw", "a result waits for this answer; cancel the task"
        )
    said: dict[str, Any] = {} if reason is None else {"reason": reason}
    audit.record(state, caller, "question_withdrawn", target=key, namespace=question.namespace, task_id=task.id, **said)
    withdrawn = withdraw_question(state, task, question, reason, by=caller.subject)
    if question.settles_task:
        change(state, task, open_questions=task.open_questions - 1)
        cancelling.cancel(state, caller, task.id, reason)
    else:
        _close_one(state, layers, task, question)
    return withdrawn


def expire(state: State, layers: LayerRegistry, key: str) -> None:
    """Do what the question's deadline says. Nothing when it is not due any more."""
    task, question = locked(state, ENGINE, key)
    if question.status is not QuestionStatus.OPEN or question.due_at is None or question.due_at > state.now:
        return
    match question.on_deadline:
        case OnDeadline.DEFAULT:
            _settle_answer(state, layers, task, question, question.default_answer or NULL, None)
        case OnDeadline.ESCALATE:
            QUESTIONS.update(state.db, key, bridge_id=question.escalate_to, due_at=None)
            suspension.emit(state, EventKind.QUESTION_ESCALATED, question, task, to=question.escalate_to)
            change(state, task)
        case OnDeadline.BLOCK:
            _expire(state, task, question)
            block_at_deadline(state, task, key)
        case OnDeadline.KEEP_WAITING:
            QUESTIONS.update(state.db, key, due_at=None)


def remind(state: State, key: str) -> None:
    """Emit once that an open question's deadline is near. Nothing when it is not due any more, or has passed."""
    task, question = locked(state, ENGINE, key)
    if question.remind_at is None or question.remind_at > state.now:
        return
    QUESTIONS.update(state.db, key, remind_at=None)
    deadline = question.deadline
    if question.status is QuestionStatus.OPEN and deadline is not None and deadline > state.now:
        suspension.emit(state, EventKind.QUESTION_REMINDED, question, task, deadline=to_rfc3339(deadline))


def _expire(state: State, task: Task, question: Question) -> None:
    closed: dict[str, Any] = {
        "status": QuestionStatus.EXPIRED,
        "reason": "its deadline passed",
        "answered_at": state.now,
        "due_at": None,
        "remind_at": None,
    }
    QUESTIONS.update(state.db, question.key, **closed)
    spans.question_settled(state, task, question._replace(**closed))
    state.wake(f"question:{question.key}")
    suspension.emit(state, EventKind.QUESTION_EXPIRED, question, task)


def mark_delivered(state: State, keys: list[str], bridge_id: str) -> None:
    """Record that a bridge has shown these questions; `why` reports it."""
    for key in keys:
        question = QUESTIONS.lock(state.db, key)
        if question is None:
            continue
        seen: list[str] = question.delivered_to.value
        if bridge_id not in seen:
            QUESTIONS.update(state.db, key, delivered_to=Json.of([*seen, bridge_id]))
