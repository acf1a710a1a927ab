"""Suspend a task on a question: the question's row, the paused clocks, the events."""

from __future__ import annotations

from typing import Any

from app.domain.actions import USUAL, digest_of
from app.domain.attempts import Attempt, Phase
from app.domain.clock import Instant
from app.domain.events import EventKind
from app.domain.json import Json
from app.domain.questions import REMINDER_MS, Ask, OnDeadline, Purpose, Question, QuestionStatus
from app.domain.tasks import Status, Step, Task, step
from app.engine.ops import leases
from app.engine.ops.tasks import change
from app.state.state import State
from app.state.tables import QUESTIONS, SESSIONS


def suspend(
    state: State,
    task: Task,
    attempt: Attempt | None,
    asked: Ask,
    *,
    purpose: Purpose,
    asked_by: str,
    asker_role: str,
    asker_keys: frozenset[str],
    bridge_id: str | None,
    settles_task: bool = False,
) -> Question:
    """Insert the question, suspend the task and pause its live attempt. Raises InvalidTransition.

    A question that names no bridge is addressed to the asker's (`bridge_id`), else to that of the attempt's session.
    """
    after = step(task.id, task.status, Step.SUSPEND)
    if attempt is not None and attempt.phase is not Phase.HELD:
        leases.pause(state, attempt)
    to = asked.bridge_id or bridge_id or _bridge_of(state, attempt)
    question = _question(state, task, asked, purpose=purpose, asked_by=asked_by, asker_role=asker_role, bridge_id=to)
    question = question._replace(asker_keys=Json.of(sorted(asker_keys)), settles_task=settles_task)
    QUESTIONS.insert(state.db, question)
    for due_at in (question.due_at, question.remind_at):
        if due_at is not None:
            state.due(due_at)
    emit(state, EventKind.SENIOR_QUERIED, question, task, bridge_id=question.bridge_id, by=asked_by)
    if task.status is not Status.SUSPENDED:
        emit(state, EventKind.TASK_SUSPENDED, question, task)
    # Any retry that was planned waits too: the task is not running now.
    change(state, task, status=after, asked=task.asked + 1, open_questions=task.open_questions + 1, retry_at=None)
    return question


def _bridge_of(state: State, attempt: Attempt | None) -> str | None:
    session = SESSIONS.get(state.db, attempt.session_id) if attempt is not None and attempt.session_id else None
    return session.bridge_id if session else None


def _question(
    state: State, task: Task, asked: Ask, *, purpose: Purpose, asked_by: str, asker_role: str, bridge_id: str | None
) -> Question:
    return Question(
        key=state.ids.resume_key(),
        task_id=task.id,
        attempt=task.attempt,
        agent=task.agent,
        purpose=purpose,
        asked_by=asked_by,
        asker_role=asker_role,
        question=asked.question,
        answer_schema=asked.with_schema().answer_schema,
        choices=asked.choices,
        bridge_id=bridge_id,
        deadline=asked.deadline,
        on_deadline=asked.on_deadline,
        default_answer=asked.default_answer,
        escalate_to=asked.escalate_to,
        status=QuestionStatus.OPEN,
        answer=None,
        answered_by=None,
        reason=None,
        asked_at=state.now,
        answered_at=None,
        delivered_to=Json("[]"),
        due_at=asked.deadline if asked.on_deadline is not OnDeadline.KEEP_WAITING else None,
        namespace=task.namespace,
        title=asked.title,
        choice_words=asked.choice_words,
        takes_comment=asked.takes_comment,
        action=asked.action,
        action_digest=None if asked.action is None else digest_of(asked.action),
        allowed=None if asked.action is None else Json.of(list(asked.allowed or USUAL)),
        doors=None if asked.doors is None else Json.of(list(asked.doors)),
        require=asked.require,
        approval_ttl_ms=asked.approval_ttl_ms,
        remind_at=_reminder(state.now, asked.deadline),
    )


def _reminder(now: Instant, deadline: Instant | None) -> Instant | None:
    """Return when the deadline is near; None when it is so from the start."""
    return None if deadline is None or deadline - REMINDER_MS <= now else deadline - REMINDER_MS


def emit(state: State, kind: EventKind, question: Question, task: Task, **data: Any) -> None:
    """Emit an event about a question; fields without a value are left out."""
    state.emit(
        kind,
        namespace=task.namespace,
        task_id=task.id,
        session_id=task.session_id,
        attempt=question.attempt,
        key=question.key,
        **{name: value for name, value in data.items() if value is not None},
    )
