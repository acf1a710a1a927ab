"""Notices of chat webhooks: what a message about an event says now, the answer link in it, and what was sent."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from app.domain.access import ENGINE
from app.domain.answer_links import LONGEST_LIFE_MS, PAGE
from app.domain.clock import to_rfc3339
from app.domain.errors import AccessDenied, Conflict, InvalidInput, NotFound, QuotaExceeded, ResumeKeyNotFound
from app.domain.events import Event, EventKind
from app.domain.json import Json, encode
from app.domain.notices import Content, Notice, as_text
from app.domain.questions import SETTLED, Question, QuestionStatus
from app.domain.webhooks import Webhook, WebhookMessage
from app.engine.ops import credentials, links
from app.engine.ops.links import LinkWish
from app.engine.ops.questions import locked
from app.engine.ops.rules import EngineCfg
from app.state.state import State
from app.state.tables import ANSWER_LINKS, API_KEYS, QUESTIONS, TASKS, WEBHOOK_MESSAGES

_NO_LINK = (AccessDenied, NotFound, Conflict, InvalidInput, QuotaExceeded)
"""The question keeps links off, the person asked it or has left, or it has too many links."""


@dataclass(frozen=True, slots=True, kw_only=True)
class NoticeParts:
    """The parts that notices are made with: the settings, the names of namespaces, and a fresh secret with its digest.

    Without a secret there are no answer links.
    """

    cfg: EngineCfg
    names: Callable[[int], str | None]
    secret: str | None = None
    digest: str = ""


def notice(state: State, parts: NoticeParts, row: Webhook, event: Event) -> Notice | None:
    """Return the message that a chat webhook sends about an event, with a fresh answer link if it has them.

    None when there is nothing to say: the question was closed before a message about it was sent, or its task is gone.
    """
    data: dict[str, Any] = {} if event.data is None else event.data.value
    if event.kind == EventKind.TASK_BLOCKED:
        return _of_task(state, parts, row, event, data.get("reason"))
    question = _read(state, str(data.get("key")), locks=parts.secret is not None)
    if question is None:
        return None
    message = WEBHOOK_MESSAGES.get(state.db, row.id, question.key)
    if event.kind in SETTLED:
        if message is None or message.sent_at is None:
            return None
    elif question.status is not QuestionStatus.OPEN:
        return None
    return _of_question(state, parts, row, event, question, message)


def _read(state: State, key: str, *, locks: bool) -> Question | None:
    if not locks:
        return QUESTIONS.get(state.db, key)
    try:
        return locked(state, ENGINE, key)[1]
    except ResumeKeyNotFound:
        return None


def _of_task(state: State, parts: NoticeParts, row: Webhook, event: Event, reason: str | None) -> Notice | None:
    task = TASKS.get(state.db, event.task_id or "")
    if task is None:
        return None
    return Notice(
        id=f"{row.id}.{event.cursor}",
        kind=event.kind,
        at=to_rfc3339(event.at),
        namespace=parts.names(task.namespace),
        task_id=task.id,
        key=None,
        agent=task.agent,
        text=_shown(row, reason if task.last_result is None else as_text(task.last_result)),
        status="blocked",
        link=f"{parts.cfg.base_url}/console#/tasks/{task.id}",
    )


def _of_question(
    state: State, parts: NoticeParts, row: Webhook, event: Event, question: Question, message: WebhookMessage | None
) -> Notice:
    is_open = question.status is QuestionStatus.OPEN
    linked = is_open and _has_answer_link(state, parts, row, event, question, message)
    page = f"{PAGE}#{parts.secret}" if linked else f"/console#/inbox/{question.key}"
    return Notice(
        id=f"{row.id}.{event.cursor}",
        kind=event.kind,
        at=to_rfc3339(event.at),
        namespace=parts.names(question.namespace),
        task_id=question.task_id,
        key=question.key,
        agent=question.agent,
        asked_by=question.asked_by,
        title=_shown(row, question.title),
        text=_shown(row, as_text(question.question)),
        action=_shown(row, None if question.action is None else _action_text(question.action)),
        deadline=None if question.deadline is None else to_rfc3339(question.deadline),
        status=question.status.value,
        settled_by=question.answered_by,
        link=f"{parts.cfg.base_url}{page}",
        has_answer_link=linked,
        reference=None if message is None else message.reference,
    )


def _shown(row: Webhook, text: str | None) -> str | None:
    return (row.content or Content.SUMMARY).part_of(text)


def _has_answer_link(
    state: State,
    parts: NoticeParts,
    row: Webhook,
    event: Event,
    question: Question,
    message: WebhookMessage | None,
) -> bool:
    """Make the answer link with the fresh secret, by the right of the webhook's creator; False where none is allowed.

    A message that is sent again has the link that was made for it, with a new secret.
    """
    creator = API_KEYS.get(state.db, row.key_id or "")
    if row.links is None or parts.secret is None or creator is None or not credentials.is_living(creator, state.now):
        return False
    if message is not None and message.link_cursor == event.cursor:
        known = ANSWER_LINKS.get(state.db, message.link_id or "")
        if known is None or known.revoked_at is not None:
            return False
        links.renew_by(state, creator, known, parts.digest)
        return True
    try:
        wish = LinkWish(person=row.links, ttl_ms=LONGEST_LIFE_MS)
        link = links.make_by(state, parts.cfg, creator, question, wish, parts.digest)
    except _NO_LINK:
        return False
    _write(state, row, question, message, link_id=link.id, link_cursor=event.cursor)
    return True


def _action_text(action: Json) -> str:
    """Return an action as people read it: its tool and the arguments."""
    written = action.written
    parts = (written.get("server"), written.get("name"), encode(written.get("arguments", {})).decode())
    return " ".join(part for part in parts if isinstance(part, str))


def sent(state: State, row: Webhook, notice: Notice, reference: str | None) -> None:
    """Record that the receiver has taken a message; forget the question once the message says that it is closed."""
    if notice.key is None:
        return
    question = QUESTIONS.get(state.db, notice.key)
    if notice.is_settled or question is None:
        WEBHOOK_MESSAGES.delete(state.db, row.id, notice.key)
        return
    message = WEBHOOK_MESSAGES.get(state.db, row.id, notice.key)
    known = None if message is None else message.reference
    _write(state, row, question, message, reference=known or reference, sent_at=state.now)


def _write(state: State, row: Webhook, question: Question, message: WebhookMessage | None, **changes: Any) -> None:
    if message is not None:
        WEBHOOK_MESSAGES.update(state.db, row.id, question.key, **changes)
        return
    made = WebhookMessage(
        webhook_id=row.id,
        question_key=question.key,
        task_id=question.task_id,
        reference=None,
        link_id=None,
        link_cursor=None,
        sent_at=None,
    )
    WEBHOOK_MESSAGES.insert(state.db, made._replace(**changes))
