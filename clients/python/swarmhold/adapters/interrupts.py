"""The shapes in which LangChain's agents ask for the review of tools, and in which they read what was decided."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, TypeGuard, cast

from swarmhold.asking import Decision
from swarmhold.models.enums import Decision as Verdict
from swarmhold.models.questions import Action

Value = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Request:
    """An action that waits for a decision, and the decisions that are allowed."""

    action: Action
    description: str | None
    allowed: Sequence[Verdict]


@dataclass(frozen=True, slots=True)
class Review:
    """The requests of one interrupt, and how the decisions about them are written to resume it."""

    requests: Sequence[Request]
    write: Callable[[Sequence[Decision]], Any]


def review_of(value: Any, response_schema: Any) -> Review | None:
    """Return what an interrupt's value asks; None when it has none of the shapes of a review."""
    if isinstance(value, list) and value and all(map(_is_human_interrupt, cast("list[Any]", value))):
        return Review([_of_human_interrupt(one) for one in cast("list[Value]", value)], _responses)
    if not isinstance(value, dict):
        return None
    shape = cast("Value", value)
    if _is_human_interrupt(shape):
        return Review([_of_human_interrupt(shape)], lambda decisions: _response(decisions[0]))
    if "action_requests" in shape and "review_configs" in shape:
        return Review(_of_hitl_request(shape), lambda decisions: {"decisions": list(map(_decision, decisions))})
    if shape.get("type") == "tool_approval":
        return Review([_request(shape, _allowed_by(response_schema))], lambda decisions: _decision(decisions[0]))
    return None


def _request(value: Value, allowed: Sequence[str]) -> Request:
    action = Action(name=value["name"], arguments=value["args"])
    return Request(action, value.get("description"), list(map(Verdict, allowed)))


def _of_hitl_request(value: Value) -> list[Request]:
    """Read a `HITLRequest`: all the calls of one turn of the model."""
    allowed = {one["action_name"]: one["allowed_decisions"] for one in value["review_configs"]}
    return [_request(one, allowed[one["name"]]) for one in value["action_requests"]]


def _allowed_by(schema: Any) -> Sequence[str]:
    """Return the decisions that a `ToolApprovalRequest` takes: by their types, or of the only one."""
    known = cast("Value", schema) if isinstance(schema, dict) else {}
    by_type = known.get("discriminator", {}).get("mapping")
    only = known.get("properties", {}).get("type", {}).get("const")
    return list(by_type) if by_type else [only] if only else ["approve", "reject"]


def _decision(made: Decision) -> Value:
    """Write a decision as the middleware reads it."""
    if made.action is None:
        words = {"message": made.message or ""} if made.message or made.decision is Verdict.RESPOND else {}
        return {"type": made.decision.value, **words}
    if made.decision is Verdict.EDIT:
        return {"type": "edit", "edited_action": {"name": made.action["name"], "args": made.arguments}}
    return {"type": "approve"}


_FLAGS = {
    "allow_accept": Verdict.APPROVE,
    "allow_edit": Verdict.EDIT,
    "allow_respond": Verdict.RESPOND,
    "allow_ignore": Verdict.REJECT,
}


def _is_human_interrupt(value: Any) -> TypeGuard[Value]:
    request = cast("Value", value).get("action_request") if isinstance(value, dict) else None
    return isinstance(request, dict) and isinstance(cast("Value", request).get("args"), dict) and "config" in value


def _of_human_interrupt(value: Value) -> Request:
    asked = value["action_request"]
    allowed = [verdict for flag, verdict in _FLAGS.items() if value["config"].get(flag)]
    return Request(Action(name=asked["action"], arguments=asked["args"]), value.get("description"), allowed)


def _responses(decisions: Sequence[Decision]) -> list[Value]:
    return list(map(_response, decisions))


def _response(made: Decision) -> Value:
    """Write a decision as a `HumanResponse`."""
    if made.decision is Verdict.RESPOND:
        return {"type": "response", "args": made.message or ""}
    if made.action is None:
        return {"type": "ignore", "args": None}
    if made.decision is Verdict.EDIT:
        return {"type": "edit", "args": {"action": made.action["name"], "args": made.arguments}}
    return {"type": "accept", "args": None}
