"""Questions to a senior: durable rows with a life of their own, and the check of an answer."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Any, cast

from jsonschema import Draft202012Validator
from jsonschema import exceptions as faults
from jsonschema.exceptions import SchemaError
from referencing import Registry
from referencing.exceptions import NoSuchResource, Unresolvable

from app.domain.clock import Instant
from app.domain.errors import AnswerInvalid, InvalidRequest
from app.domain.json import Json, same_json


class QuestionStatus(StrEnum):
    """The life of a question."""

    OPEN = "open"
    ANSWERED = "answered"
    EXPIRED = "expired"
    WITHDRAWN = "withdrawn"


class OnDeadline(StrEnum):
    """What silence means. Nothing is ever allowed by it: `default` gives an answer that the asker chose."""

    KEEP_WAITING = "keep_waiting"
    DEFAULT = "default"
    ESCALATE = "escalate"
    BLOCK = "block"


class Purpose(StrEnum):
    """Who asked: a caller, or a layer that holds back a Final."""

    ASK = "ask"
    ESCALATION = "escalation"


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """One row of `questions`. `asker_role` and `asked_by` tell who asked; `due_at` is set while a deadline runs."""

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


@dataclass(frozen=True, slots=True, kw_only=True)
class Ask:
    """A question to be asked. `default_answer` is None when none was given (a JSON null is `Json("null")`)."""

    question: Json
    answer_schema: Json | None = None
    choices: Json | None = None
    bridge_id: str | None = None
    deadline: Instant | None = None
    on_deadline: OnDeadline = OnDeadline.KEEP_WAITING
    default_answer: Json | None = None
    escalate_to: str | None = None

    def check(self) -> None:
        """Raise InvalidRequest when the parts do not fit together: a default that breaks the schema, say."""
        if self.answer_schema is not None:
            _check_schema(self.answer_schema.value)
        if self.choices is not None and not self.choices.value:
            raise InvalidRequest("give at least one choice, or leave choices out", "choices")
        if self.on_deadline is not OnDeadline.KEEP_WAITING and self.deadline is None:
            raise InvalidRequest(f"on_deadline {self.on_deadline} needs a deadline", "deadline")
        if self.on_deadline is OnDeadline.ESCALATE and not self.escalate_to:
            raise InvalidRequest("on_deadline escalate needs escalate_to, the bridge id to ask next", "escalate_to")
        if self.on_deadline is OnDeadline.DEFAULT:
            if self.default_answer is None:
                raise InvalidRequest("on_deadline default needs a default answer", "default")
            self._check_default(self.default_answer)

    def _check_default(self, default: Json) -> None:
        try:
            check_answer("", default.value, self.answer_schema, self.choices)
        except AnswerInvalid as error:
            raise InvalidRequest(f"the default breaks the question's own schema: {error.reason}", "default") from error


def _refuse_reference(uri: str) -> Any:
    raise NoSuchResource(ref=uri)


_best_match: Any = cast(Any, faults).best_match  # the library leaves its errors' values untyped

_LOCAL_ONLY: Registry[Any] = Registry(retrieve=_refuse_reference)
"""Schemas come from agents: a reference to another document is never fetched."""


def _check_schema(schema: Any) -> None:
    if not isinstance(schema, dict):
        raise InvalidRequest("an answer schema is a JSON Schema object", "answer_schema")
    try:
        Draft202012Validator.check_schema(cast(dict[str, Any], schema))
    except SchemaError as error:
        raise InvalidRequest(f"not a valid JSON Schema: {error.message}", "answer_schema") from error


def check_answer(key: str, answer: Any, schema: Json | None, choices: Json | None) -> None:
    """Raise AnswerInvalid when the answer is outside the choices or breaks the schema (JSON Schema 2020-12)."""
    if choices is not None and not any(same_json(answer, choice) for choice in choices.value):
        raise AnswerInvalid(key, f"it must be one of {choices.text[:500]}")
    if schema is None:
        return
    try:
        validator: Any = Draft202012Validator(schema.value, registry=_LOCAL_ONLY)
        error: Any = _best_match(validator.iter_errors(answer))
    except (Unresolvable, RecursionError) as unresolved:
        raise AnswerInvalid(key, f"the schema itself cannot be applied: {unresolved}") from unresolved
    if error is not None:
        raise AnswerInvalid(key, error.message[:500], error.json_path)
