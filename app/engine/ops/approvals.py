"""Approvals of actions: consumed exactly once by the asker, and what came of it."""

from __future__ import annotations

from typing import Any

from app.domain.access import Caller, Role, Verb
from app.domain.actions import DAY_MS, Approval, approval_of
from app.domain.doors import Door
from app.domain.errors import (
    ActionMismatch,
    AlreadyConsumed,
    ApprovalExpired,
    IdempotencyMismatch,
    NotApproved,
    NotConsumed,
    OutcomeRecorded,
    RoleViolation,
)
from app.domain.events import EventKind
from app.domain.json import Json
from app.domain.questions import Question, QuestionStatus
from app.domain.tasks import Status, Task
from app.engine.ops import audit, suspension
from app.engine.ops.access import bound_rows, require_access, require_live
from app.engine.ops.idempotency import Idempotency, scope_of
from app.engine.ops.questions import locked
from app.state.rows import changed
from app.state.state import State
from app.state.tables import API_KEYS, QUESTIONS


def consume(state: State, caller: Caller, key: str, digest: str, once: Idempotency) -> tuple[Question, Approval]:
    """Consume the approval of a question's action; return the question, and what was approved.

    The same idempotency key again changes nothing. Raises ResumeKeyNotFound, TokenTaskMismatch, RoleViolation (another
    key asked), NotApproved, ActionMismatch, ApprovalExpired, AlreadyConsumed, IdempotencyMismatch, and the conflicts of
    a spent credential.
    """
    if caller.role is Role.WORKER:
        require_live(bound_rows(state, caller))
    task, question = _asked_by(state, caller, key)
    approval = _approved(task, question)
    if approval.digest != digest:
        raise ActionMismatch(key)
    scope = scope_of(caller, "consume")
    if question.consumed is not None:
        before = question.consumed.value
        if (before["scope"], before["once"]) != (scope, once.key):
            raise AlreadyConsumed(key)
        if before["fingerprint"] != once.fingerprint:
            raise IdempotencyMismatch(once.key)
        return question, approval
    if (question.answered_at or 0) + (question.approval_ttl_ms or DAY_MS) < state.now:
        raise ApprovalExpired(key)
    consumed = Json.of(
        {"at": state.now, "digest": digest, "scope": scope, "once": once.key, "fingerprint": once.fingerprint}
    )
    said = {"decision": approval.decision, "action_digest": digest}
    return _record(state, caller, task, question, EventKind.APPROVAL_CONSUMED, said, consumed=consumed), approval


def record_outcome(state: State, caller: Caller, key: str, status: str, note: str | None) -> Question:
    """Record whether the approved action succeeded. Recording it again changes nothing.

    Raises ResumeKeyNotFound, TokenTaskMismatch, RoleViolation (another key asked), NotConsumed, OutcomeRecorded.
    """
    task, question = _asked_by(state, caller, key)
    if question.consumed is None:
        raise NotConsumed(key)
    said = {"status": status} | ({} if note is None else {"note": note})
    if question.outcome is not None:
        before = question.outcome.value
        if {name: before[name] for name in before if name != "at"} != said:
            raise OutcomeRecorded(key, before["status"])
        return question
    outcome = Json.of({**said, "at": state.now})
    return _record(state, caller, task, question, EventKind.APPROVAL_OUTCOME, said, outcome=outcome)


def _record(
    state: State,
    caller: Caller,
    task: Task,
    question: Question,
    kind: EventKind,
    said: dict[str, Any],
    **changes: Any,
) -> Question:
    QUESTIONS.update(state.db, question.key, **changes)
    suspension.emit(state, kind, question, task, by=caller.subject, **said)
    audit.record(state, caller, kind.value, target=question.key, namespace=question.namespace, task_id=task.id, **said)
    return changed(question, **changes)


def _asked_by(state: State, caller: Caller, key: str) -> tuple[Task, Question]:
    """Return the question with its task locked, for one of the asker's principals or the root key."""
    task, question = locked(state, caller, key)
    require_access(state, caller, task.id, Verb.QUERY_SENIOR)
    askers: list[str] = question.asker_keys.value
    if caller.keys.isdisjoint(askers) and (caller.keys or askers):
        own = API_KEYS.get(state.db, caller.key_id or "")
        if own is None or not own.root:
            raise RoleViolation(caller.role.value, "act on an approval that another API key asked for")
    return task, question


def _approved(task: Task, question: Question) -> Approval:
    """Return what a person approved. Raises NotApproved; a deadline's default approves nothing."""
    if question.action is None or question.action_digest is None:
        raise NotApproved(question.key, "it asks for no action")
    if question.status is not QuestionStatus.ANSWERED or question.answer is None:
        raise NotApproved(question.key, f"it is {question.status.value}")
    if task.status is Status.CANCELLED:
        raise NotApproved(question.key, "its task was cancelled")
    through = None if question.answered_through is None else question.answered_through.value
    if through is not None and through["door"] == Door.DEADLINE.value:
        raise NotApproved(question.key, "its deadline passed without a decision")
    approval = approval_of(question.action, question.action_digest, question.answer)
    if approval is None:
        raise NotApproved(question.key, "the answer approves nothing")
    return approval
