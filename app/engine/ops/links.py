"""Answer links: make one for a person, revoke it, read its question, and answer by it.

A link is good while its question is open, its person's API key lives, and nobody revoked it. The lock of the question's
task covers it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

import sqlalchemy as sa

from app.domain.access import Caller, Role
from app.domain.answer_links import LONGEST_LIFE_MS, AnswerLink
from app.domain.clock import Instant, to_rfc3339
from app.domain.doors import Door
from app.domain.errors import (
    AnswerInvalid,
    AskerCannotAnswer,
    InvalidRequest,
    LinkNotFound,
    QuestionClosed,
    QuotaExceeded,
    Unauthenticated,
)
from app.domain.json import Json, canonical
from app.domain.questions import Question, QuestionStatus, check_answer, check_decision
from app.domain.tokens import ApiKey
from app.engine.ops import audit, credentials
from app.engine.ops.principals import require_no_asker
from app.engine.ops.questions import answer, locked, require_door, require_may_answer
from app.engine.ops.rules import EngineCfg
from app.spawning.ports import LayerRegistry
from app.state import schema
from app.state.state import State
from app.state.statements import Statement
from app.state.tables import ANSWER_LINKS, API_KEYS, QUESTIONS

_L = schema.answer_links.c
_BY_DIGEST = ANSWER_LINKS.search(_L.digest == sa.bindparam("digest"))
_OF_TASK = (_L.task_id == sa.bindparam("of_task"), _L.question_key == sa.bindparam("of_key"))
_REMOVE_EXPIRED = Statement(sa.delete(schema.answer_links).where(*_OF_TASK, _L.expires_at <= sa.bindparam("now")))
_COUNT = Statement(sa.select(sa.func.count()).where(*_OF_TASK, _L.revoked_at.is_(None)))


@dataclass(frozen=True, slots=True, kw_only=True)
class LinkWish:
    """The link to make: for whom (the id or name of an API key), for how long, and for which answers (None: any)."""

    person: str
    ttl_ms: int
    allow: Json | None = None


class Opened(NamedTuple):
    """A link that can be used, its question, and the person's API key."""

    link: AnswerLink
    question: Question
    person: ApiKey


def make(state: State, cfg: EngineCfg, caller: Caller, key: str, wish: LinkWish, digest: str) -> AnswerLink:
    """Record a link to an open question for a person, valid until the question's deadline at the latest.

    Raises ResumeKeyNotFound, QuestionClosed, DoorNotAllowed, AskerCannotAnswer (for the caller and the person alike),
    KeyNotFound, InvalidRequest, AnswerInvalid, QuotaExceeded, and what keeps the caller from answering.
    """
    _, question = locked(state, caller, key)
    require_may_answer(state, caller, question, None)
    _require_open(question)
    require_no_asker(state, cfg.questions, caller, question, decides=False)
    return make_by(state, cfg, caller, question, wish, digest)


def make_by(
    state: State, cfg: EngineCfg, by: Caller | ApiKey, question: Question, wish: LinkWish, digest: str
) -> AnswerLink:
    """Record a link that somebody wants who may answer the question, which is locked by its task.

    Raises QuestionClosed, DoorNotAllowed, AskerCannotAnswer (for the person), KeyNotFound, InvalidRequest,
    AnswerInvalid, QuotaExceeded.
    """
    _require_open(question)
    person = person_named(state, question.namespace, wish.person)
    if person.id in question.asker_keys.value:
        raise AskerCannotAnswer(question.key)
    _check_allowed(question, wish.allow)
    _require_room(state, cfg, question)
    link = AnswerLink(
        id=state.ids.new("L"),
        digest=digest,
        question_key=question.key,
        task_id=question.task_id,
        namespace=question.namespace,
        key_id=person.id,
        allow=wish.allow,
        made_by=audit.name_of(by) if isinstance(by, ApiKey) else by.subject,
        made_at=state.now,
        expires_at=_end(state.now, wish.ttl_ms, question, person),
        revoked_at=None,
    )
    ANSWER_LINKS.insert(state.db, link)
    _record(state, by, "link_created", link, person=person.name, expires_at=to_rfc3339(link.expires_at))
    return link


def renew_secret(state: State, caller: Caller, link_id: str, digest: str) -> AnswerLink:
    """Give a link that was made before a new secret, because the reply with the first one was lost.

    Raises LinkNotFound.
    """
    link = ANSWER_LINKS.get(state.db, link_id)
    if link is None or link.revoked_at is not None:
        raise LinkNotFound
    locked(state, caller, link.question_key)
    renew_by(state, caller, link, digest)
    return link


def renew_by(state: State, by: Caller | ApiKey, link: AnswerLink, digest: str) -> None:
    """Give a link a new secret in place of the first, which nobody may have received."""
    ANSWER_LINKS.update(state.db, link.id, digest=digest)
    _record(state, by, "link_renewed", link)


def revoke(state: State, caller: Caller, key: str, link_id: str) -> None:
    """Revoke a link. Revoking it again changes nothing.

    Raises ResumeKeyNotFound, LinkNotFound, and what keeps the caller from answering.
    """
    _, question = locked(state, caller, key)
    require_may_answer(state, caller, question, None)
    link = ANSWER_LINKS.get(state.db, link_id)
    if link is None or link.question_key != key:
        raise LinkNotFound
    if link.revoked_at is None:
        ANSWER_LINKS.update(state.db, link_id, revoked_at=state.now)
        _record(state, caller, "link_revoked", link)


def find(state: State, digest: str) -> Opened:
    """Return the link with this digest, its question and its person. Raises LinkNotFound unless it can be used."""
    link = _BY_DIGEST.first(state.db, digest=digest)
    if link is None or link.revoked_at is not None or link.expires_at <= state.now:
        raise LinkNotFound
    question, person = QUESTIONS.get(state.db, link.question_key), API_KEYS.get(state.db, link.key_id)
    if question is None or question.status is not QuestionStatus.OPEN:
        raise LinkNotFound
    if person is None or not credentials.is_living(person, state.now):
        raise LinkNotFound
    return Opened(link, question, person)


def answer_by(
    state: State, layers: LayerRegistry, cfg: EngineCfg, digest: str, value: Json, *, address: str
) -> Question:
    """Answer a link's question for its person, who sends it from this network address. The link is spent by it.

    Raises LinkNotFound, DoorNotAllowed, AskerCannotAnswer, and AnswerInvalid (the question stays open, the link good).
    """
    found = find(state, digest)
    caller = _as_person(found)
    locked(state, caller, found.link.question_key)
    link, question, person = find(state, digest)  # again under the lock: another door may have answered
    try:
        credentials.lock_key(state, person)
    except Unauthenticated:
        raise LinkNotFound from None
    if link.allow is not None and canonical(value.written) not in map(canonical, link.allow.written):
        raise AnswerInvalid(question.key, f"with this link it must be one of {link.allow.text[:500]}")
    return answer(
        state, layers, cfg.questions, caller, question.key, value, proof={"link_id": link.id, "address": address}
    )


def _as_person(found: Opened) -> Caller:
    return Caller(
        role=Role.SENIOR,
        subject=found.person.name,
        via="link",
        namespace=found.link.namespace,
        key_id=found.person.id,
        jti=found.link.id,
    )


def person_named(state: State, namespace: int, named: str) -> ApiKey:
    """Return the key of a person who may answer by links. Raises KeyNotFound, InvalidRequest."""
    key = credentials.find_living(state, namespace, named)
    if not key.person or Role.SENIOR not in key.role_set:
        raise InvalidRequest("name a key that was made with the role senior and person: true", "person")
    return key


def _require_open(question: Question) -> None:
    if question.status is not QuestionStatus.OPEN:
        raise QuestionClosed(question.key, question.status.value)
    require_door(question, Door.LINK)


def _check_allowed(question: Question, allow: Json | None) -> None:
    """Raise AnswerInvalid for an answer that the question does not take."""
    for value in () if allow is None else allow.written:
        one = Json.of(value)
        check_answer(question.key, one, question.answer_schema, question.choices)
        check_decision(question, one)


def _require_room(state: State, cfg: EngineCfg, question: Question) -> None:
    of = {"of_task": question.task_id, "of_key": question.key}
    _REMOVE_EXPIRED.change(state.db, **of, now=state.now)
    if int(_COUNT.query(state.db, **of)[0][0]) >= cfg.limits.answer_links:
        raise QuotaExceeded("answer_links", cfg.limits.answer_links)


def _end(now: Instant, ttl_ms: int, question: Question, person: ApiKey) -> Instant:
    """Return when a link ends. Raises InvalidRequest for a life that is too long, and after the deadline."""
    if not 0 < ttl_ms <= LONGEST_LIFE_MS:
        raise InvalidRequest("give more than 0 seconds and at most 7 days", "ttl")
    ends = [now + ttl_ms, question.deadline, person.expires_at]
    end = min(end for end in ends if end is not None)
    if end <= now:
        raise InvalidRequest("the question's deadline has passed: nobody could use the link", "ttl")
    return end


def _record(state: State, by: Caller | ApiKey, action: str, link: AnswerLink, **more: Any) -> None:
    about: dict[str, Any] = {"link_id": link.id, "person_key_id": link.key_id, **more}
    audit.record(state, by, action, target=link.question_key, namespace=link.namespace, **about)
