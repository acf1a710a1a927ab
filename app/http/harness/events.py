"""Hook events of coding agents, and the question that each asks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from hashlib import sha256
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from app.domain.actions import Decision
from app.domain.json import Json, canonical
from app.domain.questions import Ask
from app.engine.ops.idempotency import Idempotency
from app.http.bodies import validated
from app.http.errors import InvalidBody
from swarmhold.models.shapes import JsonObject

ASK_USER = "AskUserQuestion"
"""The tool by which Claude Code's model asks its user."""
_LABEL = "harness"
_LONGEST_TITLE = 200
_ALLOWED = (Decision.APPROVE.value, Decision.EDIT.value, Decision.REJECT.value)

_Text = Annotated[str, Field(min_length=1, max_length=4096)]


class Harness(StrEnum):
    """A program that runs an agent and asks before it uses a tool."""

    CLAUDE_CODE = "claude-code"
    CODEX = "codex"

    @property
    def program(self) -> str:
        """The program's name for people."""
        return {"claude-code": "Claude Code", "codex": "Codex"}[self.value]


class HookEvent(BaseModel):
    """A hook event; members that decide nothing are ignored."""

    model_config = ConfigDict(extra="ignore", frozen=True)

    hook_event_name: Literal["PreToolUse", "PermissionRequest"]
    session_id: Annotated[str, Field(min_length=1, max_length=200)]
    tool_name: Annotated[str, Field(min_length=1, max_length=200)]
    tool_input: JsonObject
    tool_use_id: _Text | None = None
    turn_id: _Text | None = None
    cwd: str | None = None

    @property
    def defers(self) -> bool:
        """Whether the agent can stop at the event and come back to it."""
        return self.hook_event_name == "PreToolUse"


class _Option(BaseModel):
    model_config = ConfigDict(extra="ignore")

    label: _Text
    description: str | None = None


class UserQuestion(BaseModel):
    """One question of AskUserQuestion."""

    model_config = ConfigDict(extra="ignore", populate_by_name=True)

    question: _Text
    options: list[_Option] = []
    many: bool = Field(default=False, alias="multiSelect")

    @property
    def labels(self) -> list[str]:
        """The labels of its options."""
        return [option.label for option in self.options]

    def schema_of_answer(self) -> dict[str, Any]:
        """Return the JSON Schema of the answer: a label, or a list of them; any text where there are no options."""
        one = {"enum": self.labels} if self.options else {"type": "string", "minLength": 1}
        return {"type": "array", "items": one, "minItems": 1, "uniqueItems": True} if self.many else one


class _UserQuestions(BaseModel):
    model_config = ConfigDict(extra="ignore")

    questions: Annotated[list[UserQuestion], Field(min_length=1, max_length=32)]


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """The question of an event, the labels of its task, and the key by which a repeated event finds the question."""

    ask: Ask
    labels: dict[str, str]
    once: Idempotency
    questions: Sequence[UserQuestion] = ()
    """The questions of AskUserQuestion; of any other tool none, and the answer is a decision."""


def read_event(harness: Harness, body: Any) -> HookEvent:
    """Return the event of a decoded body. Raises InvalidBody."""
    event = validated(HookEvent, body)
    if harness is Harness.CODEX and event.defers:
        # Codex can refuse a tool before it is used, but neither allow it nor wait.
        raise InvalidBody([{"field": "hook_event_name", "message": "Codex asks by PermissionRequest"}])
    return event


def asked_by(harness: Harness, event: HookEvent) -> Asked:
    """Return what the event asks. Raises InvalidBody for an AskUserQuestion without questions."""
    questions = validated(_UserQuestions, event.tool_input).questions if event.tool_name == ASK_USER else []
    ask = _plain(harness, questions) if questions else _decision(harness, event)
    return Asked(ask=ask, labels=_labels(harness, event), once=_once(harness, event), questions=questions)


def _labels(harness: Harness, event: HookEvent) -> dict[str, str]:
    return {_LABEL: harness.value, "harness-session": event.session_id}


def _once(harness: Harness, event: HookEvent) -> Idempotency:
    """Return the key of the tool use, which comes again when the agent resumes, and the digest of what it does."""
    content = canonical([event.tool_name, event.tool_input])
    use = event.tool_use_id or f"{event.turn_id or ''}:{sha256(content).hexdigest()}"
    name = sha256(canonical([harness.value, event.session_id, use])).hexdigest()
    return Idempotency(f"hook:{name}", sha256(content).hexdigest())


def _decision(harness: Harness, event: HookEvent) -> Ask:
    where = f" in {event.cwd}" if event.cwd else ""
    return Ask(
        question=Json.of(f"May {harness.program} use {event.tool_name}{where}?"),
        title=_title(f"{harness.program} asks to use {event.tool_name}"),
        action=Json.of({"name": event.tool_name, "arguments": event.tool_input}),
        allowed=_ALLOWED,
    )


def _plain(harness: Harness, questions: Sequence[UserQuestion]) -> Ask:
    first = questions[0]
    title = _title(f"{harness.program} asks")
    if len(questions) > 1:
        return Ask(
            question=Json.of([_shown(one) for one in questions]), title=title, answer_schema=_by_question(questions)
        )
    if first.many or not first.options:
        return Ask(question=Json.of(_shown(first)), title=title, answer_schema=Json.of(first.schema_of_answer()))
    return Ask(question=Json.of(_shown(first)), title=title, choices=Json.of(first.labels))


def _by_question(questions: Sequence[UserQuestion]) -> Json:
    properties = {one.question: one.schema_of_answer() for one in questions}
    return Json.of(
        {"type": "object", "properties": properties, "required": [*properties], "additionalProperties": False}
    )


def _shown(one: UserQuestion) -> Any:
    """Return the question as its text alone, or with its options where they say more than their labels."""
    described = [{"label": option.label, "description": option.description or ""} for option in one.options]
    if not any(option.description for option in one.options):
        return one.question
    return {"question": one.question, "options": described}


def _title(text: str) -> str:
    return text[:_LONGEST_TITLE].strip()
