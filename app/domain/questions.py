"""Questions to a senior: durable rows with their own life cycle, and the validation of answers."""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import StrEnum
from typing import NamedTuple

from app.domain.actions import USUAL, approval_of, digest_of, schema_of
from app.domain.answer_schemas import check_schema, first_violation
from app.domain.clock import Instant
from app.domain.errors import AnswerInvalid, InvalidRequest, PayloadTooLarge
from app.domain.events import EventKind
from app.domain.json import Json, canonical
from app.domain.namespaces import DEFAULT_ID


class QuestionStatus(StrEnum):
    """The state of a question."""

    OPEN = "open"
    ANSWERED = "answered"
    EXPIRED = "expired"
    WITHDRAWN = "withdrawn"


ASKED = frozenset({EventKind.SENIOR_QUERIED.value, EventKind.QUESTION_ESCALATED.value})
"""Kinds of events after which a question is shown to a backend."""
SETTLED = {
    EventKind.SENIOR_ANSWERED.value: QuestionStatus.ANSWERED.value,
    EventKind.QUESTION_WITHDRAWN.value: QuestionStatus.WITHDRAWN.value,
    EventKind.QUESTION_EXPIRED.value: QuestionStatus.EXPIRED.value,
}
"""Kinds of events that close a question, and its status afterwards."""


class OnDeadline(StrEnum):
    """The policy at the deadline. Nothing is approved by itself: `default` uses an answer that the asker gave."""

    KEEP_WAITING = "keep_waiting"
    DEFAULT = "default"
    ESCALATE = "escalate"
    BLOCK = "block"


REMINDER_MS = 3_600_000
"""How long before its deadline an open question is brought to mind, if it was asked earlier than that."""


class Purpose(StrEnum):
    """The kind of asker: a caller, a layer that holds back a Final, or a skill whose calls need approval."""

    ASK = "ask"
    ESCALATION = "escalation"
    SKILL = "skill"


NO_KEYS = Json("[]")


class Question(NamedTuple):
    """One row of `questions`. `asked_by` and `asker_role` name the asker; `due_at` is set while a deadline runs.

    `asker_keys` lists the API keys that the asker descends from, `answered_through` tells by which way it was answered.
    `choice_words` has what the asker says of each choice; `claim` is that of the senior who is on it, also when it is
    over. `takes_comment` says whether a comment may go with the answer, which is `answer_comment`. `settles_task`: the
    task was made for this question alone, and its answer is the task's result.

    `action` is what the asker wants to do, `allowed` what may be decided about it. An approval is consumed within
    `approval_ttl_ms` of the decision, once (`consumed`), and then has an `outcome`. `doors` limits by which doors the
    question may be answered; `require` says what an answer needs beside its value. At `remind_at` an event tells that
    the deadline is near.
    """

    key: str
    task_id: str
    attempt: int
    agent: str
    purpose: Purpose
    asked_by: str
    asker_role: str
    question: Json
    answer_schema: Json | None
    choices: Json | None
    bridge_id: str | None
    deadline: Instant | None
    on_deadline: OnDeadline
    default_answer: Json | None
    escalate_to: str | None
    status: QuestionStatus
    answer: Json | None
    answered_by: str | None
    reason: str | None
    asked_at: Instant
    answered_at: Instant | None
    delivered_to: Json
    due_at: Instant | None
    namespace: int = DEFAULT_ID
    asker_keys: Json = NO_KEYS
    answered_through: Json | None = None
    title: str | None = None
    choice_words: Json | None = None
    takes_comment: bool = False
    answer_comment: str | None = None
    claim: Json | None = None
    settles_task: bool = False
    action: Json | None = None
    action_digest: str | None = None
    allowed: Json | None = None
    doors: Json | None = None
    require: str | None = None
    consumed: Json | None = None
    outcome: Json | None = None
    approval_ttl_ms: int | None = None
    remind_at: Instant | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class QuestionRules:
    """Rules of who may answer a question, and how."""

    self_answer: bool = False
    """Whether the API key that a question descends from may answer it."""
    worker_default: bool = False
    """Whether a worker may ask with `on_deadline: default`, so that a missed deadline gives the answer it chose."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Ask:
    """A question to ask. `default_answer` is None when none was given (a JSON null is `Json("null")`).

    `choices` are the values that may be answered; `choice_words` is what `read_choices` found beside them.
    """

    question: Json
    answer_schema: Json | None = None
    choices: Json | None = None
    bridge_id: str | None = None
    deadline: Instant | None = None
    on_deadline: OnDeadline = OnDeadline.KEEP_WAITING
    default_answer: Json | None = None
    escalate_to: str | None = None
    title: str | None = None
    choice_words: Json | None = None
    takes_comment: bool = False
    action: Json | None = None
    allowed: tuple[str, ...] | None = None
    approval_ttl_ms: int | None = None
    doors: tuple[str, ...] | None = None
    require: str | None = None

    def with_schema(self) -> Ask:
        """Return it with the answer schema of a decision, if it has an action and says not what may be answered."""
        if self.action is None or self.answer_schema is not None or self.choices is not None:
            return self
        return replace(self, answer_schema=schema_of(self.allowed or USUAL))

    def check_size(self, limit: int) -> None:
        """Raise PayloadTooLarge when question, schema and choices together have more bytes than the limit."""
        parts = (self.question, self.answer_schema, self.choices, self.choice_words, self.action)
        if sum(len(part.text.encode()) for part in parts if part is not None) > limit:
            raise PayloadTooLarge("question", limit)

    def check(self) -> None:
        """Raise InvalidRequest when the fields contradict each other, e.g. a default that breaks the schema."""
        self._check_action()
        if self.answer_schema is not None:
            check_schema(self.answer_schema)
        if self.choices is not None and not self.choices.value:
            raise InvalidRequest("give at least one choice, or leave choices out", "choices")
        if self.on_deadline is not OnDeadline.KEEP_WAITING and self.deadline is None:
            raise InvalidRequest(f"on_deadline {self.on_deadline} needs a deadline; give one", "deadline")
        if self.on_deadline is OnDeadline.ESCALATE and not self.escalate_to:
            raise InvalidRequest("on_deadline escalate needs escalate_to, the bridge id to ask next", "escalate_to")
        if self.on_deadline is OnDeadline.DEFAULT:
            if self.default_answer is None:
                raise InvalidRequest("on_deadline default needs a default answer", "default")
            self._check_default(self.default_answer)

    def _check_action(self) -> None:
        if self.action is not None:
            digest_of(self.action)
        elif self.allowed is not None or self.approval_ttl_ms is not None:
            field = "allowed" if self.allowed is not None else "approval_ttl"
            raise InvalidRequest("this is said of an action; give one, or leave it out", field)

    def _check_default(self, default: Json) -> None:
        if self.action is not None and approval_of(self.action, "", default) is not None:
            raise InvalidRequest("silence approves no action; give a default that rejects it", "default")
        try:
            check_answer("", default, self.with_schema().answer_schema, self.choices)
        except AnswerInvalid as error:
            raise InvalidRequest(
                f"the default answer is invalid by the question's own rules: {error.reason}", "default"
            ) from error


def check_decision(question: Question, answer: Json) -> None:
    """Raise AnswerInvalid for an edited action that has no digest."""
    if question.action is not None:
        try:
            approval_of(question.action, question.action_digest or "", answer)
        except InvalidRequest as error:
            raise AnswerInvalid(question.key, error.reason, "$.edited_action") from error


def check_comment(question: Question, comment: str | None) -> None:
    """Raise AnswerInvalid for a comment where the asker allows none."""
    if comment is not None and not question.takes_comment:
        raise AnswerInvalid(question.key, "it takes no comment; send the value alone", "comment")


def check_answer(key: str, answer: Json, schema: Json | None, choices: Json | None) -> None:
    """Raise AnswerInvalid when the answer is outside the choices or breaks the schema (JSON Schema 2020-12)."""
    if choices is not None and canonical(answer.written) not in map(canonical, choices.written):
        raise AnswerInvalid(key, f"it must be one of {choices.text[:500]}")
    if schema is None:
        return
    violation = first_violation(schema, answer)
    if violation is not None:
        reason, path = violation
        raise AnswerInvalid(key, reason[:500], path)
