"""Replies of hooks, in the JSON of the agent that fired the hook."""

from __future__ import annotations

from typing import Any, cast

from app.domain.actions import Approval
from app.domain.questions import Question, QuestionStatus
from app.http.harness.events import Asked, HookEvent

Said = dict[str, Any]


def allow(event: HookEvent, updated: Any = None) -> Said:
    """Let the tool run, with another input if one is given."""
    change = {} if updated is None else {"updatedInput": updated}
    if event.defers:
        return _said(event, {"permissionDecision": "allow", **change})
    return _said(event, {"decision": {"behavior": "allow", **change}})


def deny(event: HookEvent, reason: str) -> Said:
    """Keep the tool from running."""
    if event.defers:
        return _said(event, {"permissionDecision": "deny", "permissionDecisionReason": reason})
    return _said(event, {"decision": {"behavior": "deny", "message": reason}})


def still_open(event: HookEvent, key: str) -> Said:
    """Stop the agent until there is an answer; a permission request cannot, so that its terminal asks."""
    if not event.defers:
        return {}
    reason = f"Question {key} waits for an answer in swarmhold. Resume the session when it is there."
    return _said(event, {"permissionDecision": "defer", "permissionDecisionReason": reason})


def refused(event: HookEvent, question: Question) -> Said:
    """Deny what a senior rejected, and what nobody decided: withdrawn or expired."""
    if question.status is not QuestionStatus.ANSWERED:
        because = f": {question.reason}" if question.reason else "; nobody allowed it"
        return deny(event, f"Question {question.key} is {question.status.value}{because}.")
    answer = question.answer.value if question.answer is not None else None
    message = cast("dict[str, Any]", answer).get("message") if isinstance(answer, dict) else None
    return deny(event, str(message or f"{question.answered_by or 'A senior'} rejected it (question {question.key})."))


def approved(event: HookEvent, approval: Approval) -> Said:
    """Let a tool run whose approval was consumed, with the input as it was edited."""
    action = approval.action.written
    return allow(event, None if approval.decision == "approve" else action["arguments"])


def replied(event: HookEvent, asked: Asked, question: Question) -> Said:
    """Hand an answer to AskUserQuestion, by the text of each question."""
    answer = question.answer.written if question.answer is not None else None
    by_text = answer if len(asked.questions) > 1 else {asked.questions[0].question: answer}
    return allow(event, {**event.tool_input, "answers": by_text})


def _said(event: HookEvent, decided: Said) -> Said:
    return {"hookSpecificOutput": {"hookEventName": event.hook_event_name, **decided}}
