"""Questions: asking a senior, waiting for the answer, answering."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Literal, cast

from pydantic import ConfigDict, Field, StrictBool, StringConstraints, model_validator

from swarmhold.models.enums import Decision, OnDeadline, QuestionStatus, Role
from swarmhold.models.instants import Instant
from swarmhold.models.names import Labels, NewName, Text
from swarmhold.models.shapes import JsonObject, JsonValue, Request, Shape, null_as

__all__ = [
    "Action",
    "ActionOutcome",
    "AnswerRequest",
    "AnsweredThrough",
    "Choice",
    "Comment",
    "ConsumeRequest",
    "Consumption",
    "EscalateRequest",
    "LoneQuestionRequest",
    "OutcomeRequest",
    "Question",
    "QuestionClaim",
    "QuestionClaimRequest",
    "QuestionRequest",
    "WithdrawRequest",
    "choices_of",
]


Outcomes = Literal["succeeded", "failed"]
DoorName = Annotated[str, StringConstraints(pattern="^[a-z0-9-]{1,32}$")]
Comment = Annotated[Text, Field(min_length=1, max_length=4000)]
"""What a senior adds to an answer, for people: its reason, or a note."""


def _needs(field: str, schema: JsonValue, *policies: OnDeadline) -> JsonObject:
    """Return the JSON Schema of: under these policies the field is required and matches the schema."""
    policy = {
        "properties": {"on_deadline": {"enum": [policy.value for policy in policies]}},
        "required": ["on_deadline"],
    }
    return {"if": policy, "then": {"properties": {field: schema}, "required": [field]}}


class Action(Request):
    """An action that needs approval: the name of a tool, its arguments, and the server that has it, if any."""

    name: NewName
    arguments: JsonObject
    server: NewName | None = None


class QuestionRequest(Request):
    """A question to a senior. The default policy waits for ever: nothing is approved by itself.

    `default` counts when it is present, even as null: null may be a valid answer. A choice is a
    value, or `{value, label, description?, danger?}`: the value is what is answered, the rest are
    words beside it, and `danger` makes consoles ask once more. `comment` lets a comment go with
    the answer.

    An `action` is shown beside the question, and what may be answered is then a decision about it,
    `{decision, edited_action?, message?}` with one of `allowed` (by default approve and reject),
    unless the question brings choices or a schema of its own. Its approval is consumed within
    `approval_ttl` seconds of the decision, by default a day. `doors` are those by which the
    question may be answered, `console` for the pages of the console; `require: signed_in` keeps
    it from people who have a link alone.
    """

    title: NewName | None = None
    question: JsonValue
    answer_schema: JsonObject | None = None
    choices: Annotated[list[JsonValue], Field(min_length=1, max_length=1000)] | None = None
    comment: StrictBool | None = None
    bridge_id: NewName | None = None
    deadline: Instant | None = None
    on_deadline: Annotated[OnDeadline, null_as(OnDeadline.KEEP_WAITING)] = OnDeadline.KEEP_WAITING
    default: JsonValue = None
    escalate_to: NewName | None = None
    action: Action | None = None
    allowed: Annotated[tuple[Decision, ...], Field(min_length=1, max_length=4)] | None = None
    approval_ttl: Annotated[float, Field(gt=0, le=31_536_000)] | None = None
    doors: Annotated[tuple[DoorName, ...], Field(min_length=1, max_length=20)] | None = None
    require: Literal["signed_in"] | None = None

    model_config = ConfigDict(
        json_schema_extra={
            "allOf": [
                _needs("deadline", {"type": "string"}, *(policy for policy in OnDeadline if policy != "keep_waiting")),
                _needs("default", True, OnDeadline.DEFAULT),
                _needs("escalate_to", {"type": "string"}, OnDeadline.ESCALATE),
                {
                    "anyOf": [
                        {"required": ["action"], "properties": {"action": {"type": "object"}}},
                        {"properties": {"allowed": {"type": "null"}, "approval_ttl": {"type": "null"}}},
                    ]
                },
            ]
        }
    )

    @model_validator(mode="after")
    def _policy_is_whole(self) -> QuestionRequest:
        if self.on_deadline is not OnDeadline.KEEP_WAITING and self.deadline is None:
            raise ValueError(f"on_deadline {self.on_deadline} needs a deadline")
        if self.on_deadline is OnDeadline.DEFAULT and not self.has("default"):
            raise ValueError("on_deadline default needs a default answer")
        if self.on_deadline is OnDeadline.ESCALATE and self.escalate_to is None:
            raise ValueError("on_deadline escalate needs escalate_to, the bridge to turn to")
        return self


class LoneQuestionRequest(QuestionRequest):
    """A question that has no task yet. One is made that waits for the answer and has it as its result."""

    agent: Annotated[NewName, null_as("ask")] = "ask"
    labels: Annotated[Labels, null_as({})] = Field(default_factory=dict)


class ConsumeRequest(Request):
    """The digest of the action that is about to be carried out: SHA-256 of its RFC 8785 form, as `sha256:<hex>`."""

    action_digest: Annotated[str, StringConstraints(pattern=r"^sha256:[0-9a-f]{64}$")]


class Consumption(Shape):
    """An approval that was consumed: the decision, and the action to be carried out as it was decided."""

    consumed_at: Instant
    decision: Decision
    action: JsonObject
    action_digest: str


class OutcomeRequest(Request):
    """The end of an action that was approved."""

    status: Outcomes
    note: Comment | None = None


class ActionOutcome(Shape):
    """The end of an action that was approved, and when it was reported."""

    status: Outcomes
    note: str | None = None
    at: Instant


class WithdrawRequest(Request):
    """Why the question is withdrawn; kept with it."""

    reason: Text | None = None


class AnswerRequest(Request):
    """A senior's answer: any JSON value that fits the question's schema and choices.

    A `comment` may go with it where the question's `comment` is true.
    """

    value: JsonValue
    comment: Comment | None = None


class QuestionClaimRequest(Request):
    """For how many seconds a senior is on a question."""

    ttl: Annotated[float, null_as(900.0), Field(ge=1, le=86_400)] = 900.0


class EscalateRequest(Request):
    """The bridge id to hand a question over to."""

    to: NewName


class AnsweredThrough(Shape):
    """By which door an answer came (`rest`, `ws`, …), and with which role, API key and session.

    The door `deadline` stands alone: nobody answered, the question's default took effect. With the
    door `link` the key is the person's, who did not sign in; `address` is where the answer came from.
    """

    door: str
    role: Role | None = None
    key_id: str | None = None
    key_name: str | None = None
    session_id: str | None = None
    link_id: str | None = None
    address: str | None = None


class QuestionClaim(Shape):
    """A senior who is on an open question, and until when. Others may answer it all the same."""

    by: str
    through: AnsweredThrough | None = None
    since: Instant
    until: Instant


class Choice(Shape):
    """A value that may be answered, and the asker's words about it, which are never the value."""

    value: JsonValue
    label: str | None = None
    description: str | None = None
    danger: bool = False


_WORDS = frozenset({"label", "description", "danger"})


def choices_of(choices: Sequence[JsonValue] | None) -> list[Choice]:
    """Return the choices of a question as they are answered: an object of value and label is that value."""
    return [_choice_of(choice) for choice in choices or ()]


def _choice_of(choice: JsonValue) -> Choice:
    if isinstance(choice, dict):
        words = cast("JsonObject", choice)
        if {"value", "label"} <= words.keys() <= _WORDS | {"value"}:
            return Choice.model_validate(words)
    return Choice(value=choice)


class Question(Shape):
    """One senior query, with a life of its own.

    `answer` is present once there is one (`has("answer")`), with `answer_comment` if a comment went
    with it, which `comment` allows. `choices` are as they were asked: values, or
    `{value, label, description?, danger?}`. `claim` is there while somebody is on it, `delivered_to`
    lists the bridges that have been shown it, `reason` says why it was closed without an answer. In
    a list, `cut` names the fields (`question`, `answer`) of which this is a preview: the beginning
    of a text, null for other JSON.
    """

    key: str
    namespace: str | None = None
    task_id: str
    attempt: int
    agent: str
    title: str | None = None
    question: JsonValue
    answer_schema: JsonObject | None = None
    choices: list[JsonValue] | None = None
    comment: bool | None = None
    bridge_id: str | None = None
    deadline: Instant | None = None
    on_deadline: OnDeadline
    default: JsonValue = None
    escalate_to: str | None = None
    status: QuestionStatus
    claim: QuestionClaim | None = None
    answer: JsonValue = None
    answer_comment: str | None = None
    answered_by: str | None = None
    answered_through: AnsweredThrough | None = None
    asked_at: Instant
    answered_at: Instant | None = None
    reason: str | None = None
    delivered_to: list[str]
    action: JsonObject | None = None
    action_digest: str | None = None
    allowed: list[Decision] | None = None
    approval_ttl: float | None = None
    doors: list[str] | None = None
    require: str | None = None
    consumed_at: Instant | None = None
    outcome: ActionOutcome | None = None
    cut: list[str] | None = None

    @property
    def options(self) -> list[Choice]:
        """The choices with the values that are answered, none without choices."""
        return choices_of(self.choices)

    @property
    def is_open(self) -> bool:
        """Whether it still waits for an answer."""
        return self.status is QuestionStatus.OPEN
