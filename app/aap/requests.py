"""Approval requests of the protocol: a question about an action, and what became of it."""

from __future__ import annotations

from typing import Annotated, Any, Literal, cast

from pydantic import BaseModel, ConfigDict, Field, model_validator

from app.domain.actions import DAY_MS, USUAL, approval_of
from app.domain.clock import Instant
from app.domain.clock import to_rfc3339 as at
from app.domain.ids import uuid_of
from app.domain.json import Json
from app.domain.questions import Ask, OnDeadline, Question, QuestionStatus
from swarmhold.models.shapes import JsonObject

LABELS = {"harness": "aap"}
"""The labels of a request's task."""
DURATION = "[1-9][0-9]{0,17}[smh]"
"""A positive whole number of seconds, minutes or hours, as in `30s`."""
_ASKS = "asks"
_SAID = ("timeout", "agent_reasoning", "context")
"""What a request says beside its action; the question keeps it as it came."""
_SECONDS = {"s": 1, "m": 60, "h": 3600}
_LONGEST_S = 3650 * 86_400
"""Seconds after which the deadline of any request has come."""
_LONGEST_TITLE = 200

Text = Annotated[str, Field(min_length=1)]


class Body(BaseModel):
    """A body of the protocol: no unknown members, and none that is null."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    @model_validator(mode="before")
    @classmethod
    def _without_nulls(cls, given: Any) -> Any:
        if isinstance(given, dict) and None in cast("JsonObject", given).values():
            raise ValueError("leave out what is null")
        return cast(Any, given)


class Submission(Body):
    """A request for approval of one call of a tool."""

    tool: Text
    server: Text | None = None
    arguments: JsonObject
    timeout: Annotated[str, Field(pattern=rf"^{DURATION}$")]
    agent_reasoning: str | None = None
    context: JsonObject | None = None

    def ask(self, now: Instant) -> Ask:
        """Return what is asked: a decision about the call, which is approved or rejected as it is.

        The protocol has no edited calls, so none is offered. Nothing is approved when the deadline comes.
        """
        server = {} if self.server is None else {"server": self.server}
        said = {name: value for name in _SAID if (value := getattr(self, name)) is not None}
        return Ask(
            question=Json.of({_ASKS: f"May an agent use {self.tool}?", **said}),
            title=f"An agent asks to use {self.tool}"[:_LONGEST_TITLE].strip(),
            action=Json.of({"name": self.tool, **server, "arguments": self.arguments}),
            allowed=USUAL,
            deadline=now + 1000 * seconds_of(self.timeout, _LONGEST_S),
            on_deadline=OnDeadline.BLOCK,
        )


class Report(Body):
    """The outcome of a call that was approved and begun."""

    status: Literal["succeeded", "failed"]
    note: Text | None = None


def seconds_of(duration: str, longest: int) -> int:
    """Return the seconds of a duration, `longest` at most."""
    return min(longest, int(duration[:-1]) * _SECONDS[duration[-1]])


def is_request(question: Question) -> bool:
    """Return whether a question has all that a request has."""
    said = question.question.value
    return (
        question.action_digest is not None
        and question.deadline is not None
        and isinstance(said, dict)
        and _ASKS in said
        and "timeout" in said
    )


def status_of(question: Question) -> str:
    """Return the status of a request. An answer that came with the deadline or later approves nothing."""
    if question.status is not QuestionStatus.ANSWERED:
        return {"open": "pending", "expired": "expired", "withdrawn": "cancelled"}[question.status.value]
    if (question.answered_at or 0) >= (question.deadline or 0):
        return "expired"
    if question.action is None or question.answer is None:
        return "denied"
    return "denied" if approval_of(question.action, "", question.answer) is None else "approved"


def shown(question: Question) -> JsonObject:
    """Render a request: what was submitted, unchanged, and its state."""
    action: JsonObject = question.action.written if question.action is not None else {}
    said: JsonObject = question.question.written
    status = status_of(question)
    return {
        "id": str(uuid_of(question.key)),
        "tool": action["name"],
        **{name: action[name] for name in ("server", "arguments") if name in action},
        **{name: said[name] for name in _SAID if name in said},
        "status": status,
        "created_at": at(question.asked_at),
        "deadline_at": at(question.deadline or question.asked_at),
        **({} if status == "pending" else {"decision": _decision(question, status)}),
        **({} if question.consumed is None else {"consumption": _consumption(question)}),
    }


def _decision(question: Question, status: str) -> JsonObject:
    decided = question.answered_at or question.asked_at
    expires = {"expires_at": at(decided + (question.approval_ttl_ms or DAY_MS))} if status == "approved" else {}
    note = _note(question)
    return {"status": status, "decided_at": at(decided), **({"note": note} if note else {}), **expires}


def _note(question: Question) -> str | None:
    """Return the message of the senior who decided, or the reason of a withdrawal."""
    if question.answer is None:
        return question.reason
    said = question.answer.value
    return cast("JsonObject", said).get("message") if isinstance(said, dict) else None


def _consumption(question: Question) -> JsonObject:
    consumed: JsonObject = {} if question.consumed is None else question.consumed.value
    shown: JsonObject = {"consumed_at": at(consumed["at"])}
    if question.outcome is not None:
        outcome: JsonObject = question.outcome.value
        said = {name: outcome[name] for name in ("status", "note") if name in outcome}
        shown["outcome"] = {**said, "reported_at": at(outcome["at"])}
    return shown
