"""Forms in which a client asks its person a question: what they show, and the answer that they give.

A form has fields of plain values alone. A question that does not fit is asked at an address instead, never simplified.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, cast

from mcp import types

from app.mcp.calls import Value

FIELD = "answer"
"""The field of a form whose question asks for one value."""
_NOTES = {"title", "description", "default"}
_FITS = {
    "string": _NOTES | {"type", "minLength", "maxLength", "format", "enum"},
    "number": _NOTES | {"type", "minimum", "maximum"},
    "integer": _NOTES | {"type", "minimum", "maximum"},
    "boolean": _NOTES | {"type"},
}
_FORMATS = (None, "email", "uri", "date", "date-time")
_OF_OBJECT = {"type", "properties", "required", "additionalProperties", "title", "description", "$schema"}


def console_address(base_url: str, key: str) -> str:
    """Return where the console shows a question."""
    return f"{base_url}/console#/inbox/{key}"


def is_form(question: Value, can: types.ElicitationCapability) -> bool:
    """Return whether a client asks the question by a form. One that names no way of asking has forms."""
    return (can.form is not None or can.url is None) and form_of(question) is not None


def request_of(question: Value, can: types.ElicitationCapability, address: str) -> types.ElicitRequest | None:
    """Return how a client asks its person: by a form, else at an address; None if it can do neither."""
    said = message_of(question)
    if is_form(question, can):
        form = types.ElicitRequestFormParams(message=said, requested_schema=form_of(question) or {})
        return types.ElicitRequest(params=form)
    if can.url is None:
        return None
    return types.ElicitRequest(params=types.ElicitRequestURLParams(message=said, url=address))


def form_of(question: Value) -> Value | None:
    """Return the schema of the form for a question, None if no form shows it as it is."""
    field: Value | None
    if "choices" in question:
        field = _choice(question["choices"])
    elif "answer_schema" not in question:
        field = {"type": "string"}
    else:
        schema = question["answer_schema"]
        if _is_object(schema):
            return _fields(cast("Value", schema))
        field = _field(schema)
    return None if field is None else {"type": "object", "properties": {FIELD: field}, "required": [FIELD]}


def answer_of(question: Value, content: Mapping[str, Any] | None) -> Value | None:
    """Return `{value}` of what a person entered in the form of a question, None for what is no answer."""
    if content is None or form_of(question) is None:
        return None
    if "choices" not in question and _is_object(question.get("answer_schema")):
        return {"value": dict(content)}
    return {"value": content[FIELD]} if FIELD in content else None


def message_of(question: Value) -> str:
    """Return the words that stand above the form: the question, its action and choices, and who asks."""
    asked = question["question"]
    lines = [question["title"]] if question.get("title") else []
    lines.append(asked if isinstance(asked, str) else _json(asked))
    if action := question.get("action"):
        server = f" of {action['server']}" if "server" in action else ""
        lines.append(f"Action: {action['name']}{server} {_json(action['arguments'])}")
    for choice in question.get("choices", ()):
        if _has_words(choice):
            danger = " (dangerous)" if choice.get("danger") else ""
            lines.append(f"{choice['value']}: {choice['label']}{danger}. {choice.get('description', '')}".rstrip())
    lines.append(f"Asked by {question['agent']} (question {question['key']}).")
    return "\n\n".join(lines)


def _json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False)


def _has_words(choice: Any) -> bool:
    return isinstance(choice, dict) and {"value", "label"} <= cast("Value", choice).keys()


def _choice(choices: list[Any]) -> Value | None:
    values = [choice["value"] if _has_words(choice) else choice for choice in choices]
    if not all(isinstance(value, str) for value in values):
        return None
    names = [choice["label"] if _has_words(choice) else choice for choice in choices]
    return {"type": "string", "enum": values, **({} if names == values else {"enumNames": names})}


def _is_object(schema: Any) -> bool:
    return isinstance(schema, dict) and cast("Value", schema).get("type") == "object"


def _fields(schema: Value) -> Value | None:
    """Return the form of an object's schema, None unless all its members are plain values and nothing else is said."""
    properties = schema.get("properties")
    required = schema.get("required", [])
    if not isinstance(properties, dict) or not properties or not schema.keys() <= _OF_OBJECT:
        return None
    members = cast("Value", properties)
    if not isinstance(schema.get("additionalProperties", True), bool) or not set(required) <= members.keys():
        return None
    fields = {name: _field(member) for name, member in members.items()}
    if any(field is None for field in fields.values()):
        return None
    return {"type": "object", "properties": fields, "required": required}


def _field(schema: Any) -> Value | None:
    """Return the form's field of a plain value's schema, None for one that says what no field does."""
    if not isinstance(schema, dict):
        return None
    found = cast("Value", schema)
    if "type" not in found and "enum" in found:
        found = {"type": "string", **found}
    kind = found.get("type")
    if not isinstance(kind, str) or kind not in _FITS or not found.keys() <= _FITS[kind]:
        return None
    values = found.get("enum", [])
    if not isinstance(values, list) or not all(isinstance(value, str) for value in cast("list[Any]", values)):
        return None
    return found if found.get("format") in _FORMATS else None
