"""Claims of questions, and handing them over. A claim says who is on a question; it keeps nobody from answering it."""

from __future__ import annotations

from typing import Any

from app.domain.access import Caller
from app.domain.errors import QuestionClosed
from app.domain.events import EventKind
from app.domain.json import Json
from app.domain.names import check_name
from app.domain.questions import OnDeadline, Question, QuestionRules, QuestionStatus
from app.domain.tasks import Task
from app.engine.ops import audit, suspension
from app.engine.ops.principals import answered_through, require_no_asker
from app.engine.ops.questions import locked, require_may_answer
from app.engine.ops.tasks import change
from app.state.state import State
from app.state.tables import QUESTIONS


def claim(state: State, rules: QuestionRules, caller: Caller, key: str, ttl_ms: int) -> Question:
    """Record that the caller is on an open question, for so long. A claim of another is taken over.

    Raises ResumeKeyNotFound, QuestionClosed, and what keeps the caller from answering it.
    """
    task, question = _open(state, rules, caller, key)
    before = _live_claim(state, question)
    through = answered_through(state, caller).value
    renews = before is not None and _is_of(before, caller)
    since = before["since"] if before is not None and renews else state.now
    until = state.now + ttl_ms
    made = Json.of({"by": caller.subject, "through": through, "since": since, "until": until})
    QUESTIONS.update(state.db, key, claim=made)
    suspension.emit(state, EventKind.QUESTION_CLAIMED, question, task, by=caller.subject, seconds=ttl_ms / 1000)
    return question._replace(claim=made)


def release(state: State, caller: Caller, key: str) -> Question:
    """End the caller's own claim; that of another stays, and without one nothing changes. Raises ResumeKeyNotFound."""
    task, question = locked(state, caller, key)
    before = _live_claim(state, question)
    if before is None or question.status is not QuestionStatus.OPEN or not _is_of(before, caller):
        return question
    QUESTIONS.update(state.db, key, claim=None)
    suspension.emit(state, EventKind.QUESTION_RELEASED, question, task, by=caller.subject)
    return question._replace(claim=None)


def escalate(state: State, rules: QuestionRules, caller: Caller, key: str, to: str) -> Question:
    """Address an open question to another bridge at once, without a claim. Its deadline stays.

    Raises ResumeKeyNotFound, QuestionClosed, InvalidName, and what keeps the caller from answering it.
    """
    check_name(to, "to")
    task, question = _open(state, rules, caller, key)
    changes: dict[str, Any] = {"bridge_id": to, "claim": None}
    if question.on_deadline is OnDeadline.ESCALATE and question.escalate_to == to:
        changes["due_at"] = None
    QUESTIONS.update(state.db, key, **changes)
    suspension.emit(state, EventKind.QUESTION_ESCALATED, question, task, to=to, by=caller.subject)
    audit.record(
        state,
        caller,
        "question_escalated",
        target=key,
        namespace=question.namespace,
        task_id=question.task_id,
        to=to,
        previous=question.bridge_id,
    )
    change(state, task)
    return question._replace(**changes)


def _open(state: State, rules: QuestionRules, caller: Caller, key: str) -> tuple[Task, Question]:
    task, question = locked(state, caller, key)
    require_may_answer(state, caller, question, None)
    if question.status is not QuestionStatus.OPEN:
        raise QuestionClosed(key, question.status.value)
    require_no_asker(state, rules, caller, question, decides=False)
    return task, question


def _live_claim(state: State, question: Question) -> dict[str, Any] | None:
    found = None if question.claim is None else question.claim.value
    return found if found is not None and found["until"] > state.now else None


def _is_of(claim: dict[str, Any], caller: Caller) -> bool:
    """Whether a claim is of the same person, from whichever of their sessions."""
    return (claim["by"], claim["through"]["key_id"]) == (caller.subject, caller.key_id)
