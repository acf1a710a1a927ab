"""Replies about questions, their actions and their answer links; see `app.http.views`."""

from __future__ import annotations

from collections.abc import Sequence

from app.domain.actions import DAY_MS, Approval
from app.domain.answer_links import AnswerLink
from app.domain.choices import shown_choices
from app.domain.clock import Instant
from app.domain.clock import to_rfc3339 as at
from app.domain.json import NULL
from app.domain.questions import Question, QuestionStatus
from app.engine.ops.links import Opened
from app.http.views import Names, View, at_or_none, fragment, present, with_cut


def question(names: Names, row: Question, now: Instant, cut: Sequence[str] = ()) -> View:
    """Render a question as it is at `now`, by the engine's clock: with its answer, and a claim that has not ended."""
    shown: View = {
        "key": row.key,
        "namespace": names(row.namespace),
        "task_id": row.task_id,
        "attempt": row.attempt,
        "agent": row.agent,
        "question": row.question.fragment,
        **present(
            title=row.title,
            answer_schema=fragment(row.answer_schema),
            choices=None if row.choices is None else shown_choices(row.choices, row.choice_words),
            comment=row.takes_comment or None,
            bridge_id=row.bridge_id,
            deadline=at_or_none(row.deadline),
            default=fragment(row.default_answer),
            escalate_to=row.escalate_to,
            doors=fragment(row.doors),
            require=row.require,
        ),
        "on_deadline": row.on_deadline.value,
        "status": row.status.value,
        "asked_at": at(row.asked_at),
        **present(
            claim=_claim(row, now),
            answer_comment=row.answer_comment,
            answered_by=row.answered_by,
            answered_through=fragment(row.answered_through),
            answered_at=at_or_none(row.answered_at),
            reason=row.reason,
        ),
        "delivered_to": row.delivered_to.fragment,
    }
    if row.action_digest is not None:
        shown |= _action(row)
    if row.status is QuestionStatus.ANSWERED or row.answer is not None:
        shown["answer"] = fragment(row.answer)
    return with_cut(shown, cut)


def _action(row: Question) -> View:
    """Render the action of a question, and what became of its approval."""
    outcome: View | None = None if row.outcome is None else row.outcome.value
    return present(
        action=fragment(row.action),
        action_digest=row.action_digest,
        allowed=fragment(row.allowed),
        approval_ttl=(row.approval_ttl_ms or DAY_MS) / 1000,
        consumed_at=None if row.consumed is None else at(row.consumed.value["at"]),
        outcome=None if outcome is None else {**outcome, "at": at(outcome["at"])},
    )


def consumption(row: Question, approval: Approval) -> View:
    """Render an approval that was consumed."""
    consumed = NULL if row.consumed is None else row.consumed
    return {
        "consumed_at": at(consumed.value["at"]),
        "decision": approval.decision,
        "action": approval.action.fragment,
        "action_digest": approval.digest,
    }


def answer_link(row: AnswerLink, url: str) -> View:
    """Render a link that was made, with the URL that is shown this once."""
    return {"id": row.id, "url": url, "expires_at": at(row.expires_at)}


def opened_link(found: Opened, base_url: str) -> View:
    """Render what a link shows of its question."""
    row = found.question
    return {
        "key": row.key,
        "agent": row.agent,
        "question": row.question.fragment,
        **present(
            title=row.title,
            answer_schema=fragment(row.answer_schema),
            choices=None if row.choices is None else shown_choices(row.choices, row.choice_words),
            action=fragment(row.action),
            allowed=fragment(row.allowed),
            allow=fragment(found.link.allow),
            deadline=at_or_none(row.deadline),
        ),
        "asked_by": row.asked_by,
        "asked_at": at(row.asked_at),
        "person": found.person.name,
        "expires_at": at(found.link.expires_at),
        "console": f"{base_url}/console#/inbox/{row.key}",
    }


def _claim(row: Question, now: Instant) -> View | None:
    """Render who is on an open question at `now`."""
    found: View | None = None if row.claim is None else row.claim.value
    if found is None or row.status is not QuestionStatus.OPEN or found["until"] <= now:
        return None
    return {**found, "since": at(found["since"]), "until": at(found["until"])}
