"""Actions that a question asks approval for: their digest, the answers that decide on them, and what was approved."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from decimal import Decimal
from enum import StrEnum
from hashlib import sha256
from typing import Any, cast

from app.domain.errors import InvalidRequest
from app.domain.json import Json
from app.domain.numbers import written_text

DAY_MS = 86_400_000
_NUMBERLESS = (str, bool, type(None))
_LARGEST_PLAIN, _SMALLEST_PLAIN = 1e21, 1e-6


class Decision(StrEnum):
    """A decision about an action."""

    APPROVE = "approve"
    EDIT = "edit"
    REJECT = "reject"
    RESPOND = "respond"


USUAL = (Decision.APPROVE.value, Decision.REJECT.value)
"""Decisions that an asker allows who does not say which."""


@dataclass(frozen=True, slots=True)
class Approval:
    """A decision that lets an action happen, the action as it was decided, and its digest."""

    decision: str
    action: Json
    digest: str


def digest_of(action: Json) -> str:
    """Return `sha256:<hex>` of the action's canonical form (RFC 8785).

    Raises InvalidRequest for a number that a double cannot hold, and for an action that is nested too deeply.
    """
    try:
        text = _canonical(action.written)
    except RecursionError:
        raise InvalidRequest("the action is nested too deeply", "action") from None
    return "sha256:" + sha256(text.encode()).hexdigest()


def _canonical(value: Any) -> str:
    if isinstance(value, _NUMBERLESS):
        return json.dumps(value, ensure_ascii=False)
    if isinstance(value, list):
        return "[" + ",".join(map(_canonical, cast("list[Any]", value))) + "]"
    if isinstance(value, dict):
        members = cast("dict[str, Any]", value)
        names = sorted(members, key=lambda name: name.encode("utf-16-be"))
        return "{" + ",".join(f"{_canonical(name)}:{_canonical(members[name])}" for name in names) + "}"
    return _number(written_text(value) or repr(value))


def _number(text: str) -> str:
    """Return a number as ECMAScript writes it. Raises InvalidRequest for one that a double cannot hold."""
    double = float(text)
    if math.isinf(double) or Decimal(shortest := repr(double)) != Decimal(text):
        raise InvalidRequest(f"the number {text[:40]} does not fit a double; send it as a text", "action")
    if double == 0:
        return "0"
    if _SMALLEST_PLAIN <= abs(double) < _LARGEST_PLAIN:
        return format(Decimal(shortest), "f").removesuffix(".0")
    mantissa, _, exponent = shortest.partition("e")
    return f"{mantissa.removesuffix('.0')}e{int(exponent):+d}"


def schema_of(allowed: tuple[str, ...]) -> Json:
    """Return the answer schema of a decision about an action."""
    edits = Decision.EDIT.value in allowed
    action = {
        "type": "object",
        "properties": {"name": {"type": "string", "minLength": 1}, "arguments": {"type": "object"}},
        "required": ["name", "arguments"],
        "additionalProperties": False,
    }
    properties: dict[str, Any] = {"decision": {"enum": list(allowed)}, "message": {"type": "string"}}
    schema: dict[str, Any] = {
        "type": "object",
        "properties": properties | ({"edited_action": action} if edits else {}),
        "required": ["decision"],
        "additionalProperties": False,
    }
    if edits:
        is_edit = {"properties": {"decision": {"const": Decision.EDIT.value}}}
        schema |= {
            "if": is_edit,
            "then": {"required": ["edited_action"]},
            "else": {"properties": {"edited_action": False}},
        }
    return Json.of(schema)


def approval_of(action: Json, digest: str, answer: Json) -> Approval | None:
    """Return what an answer approves, None when it approves nothing.

    An edited action keeps the server of the one that was asked about. Raises InvalidRequest for one whose numbers a
    double cannot hold.
    """
    found = answer.written
    if not isinstance(found, dict):
        return None
    said = cast("dict[str, Any]", found)
    match said.get("decision"):
        case Decision.APPROVE.value:
            return Approval(Decision.APPROVE.value, action, digest)
        case Decision.EDIT.value:
            return _edited(action, said.get("edited_action"))
        case _:
            return None


def _edited(action: Json, given: Any) -> Approval | None:
    edited = cast("dict[str, Any]", given) if isinstance(given, dict) else {}
    if not isinstance(edited.get("name"), str) or not isinstance(edited.get("arguments"), dict):
        return None
    changed = Json.of({**action.written, "name": edited["name"], "arguments": edited["arguments"]})
    return Approval(Decision.EDIT.value, changed, digest_of(changed))
