"""Which questions a form shows, what it shows of them, and what was entered."""

from typing import Any

import pytest
from mcp import types

from app.mcp import forms

ASKED: dict[str, Any] = {"key": "R-1", "agent": "a", "question": "Which?"}
TEXT = {"type": "string"}
FORM = types.ElicitationCapability(form=types.FormElicitationCapability())
URL = types.ElicitationCapability(url=types.UrlElicitationCapability())
OLD = types.ElicitationCapability()


def one(field: dict[str, Any]) -> dict[str, Any]:
    """A form for one value."""
    return {"type": "object", "properties": {"answer": field}, "required": ["answer"]}


@pytest.mark.parametrize(
    ("question", "form"),
    [
        ({}, one(TEXT)),
        ({"choices": ["a", "b"]}, one({"type": "string", "enum": ["a", "b"]})),
        (
            {"choices": [{"value": "a", "label": "All"}, "b"]},
            one({"type": "string", "enum": ["a", "b"], "enumNames": ["All", "b"]}),
        ),
        ({"choices": [1, 2]}, None),
        ({"choices": [{"value": {"n": 1}, "label": "One"}]}, None),
        *(
            ({"answer_schema": field}, one(field))
            for field in (
                TEXT,
                {"type": "boolean"},
                {"type": "integer", "minimum": 1, "maximum": 9, "title": "Replicas", "default": 3},
                {"type": "number"},
                {"type": "string", "minLength": 1, "maxLength": 9, "format": "email"},
                {"type": "string", "enum": ["x", "y"]},
            )
        ),
        ({"answer_schema": {"enum": ["x", "y"]}}, one({"type": "string", "enum": ["x", "y"]})),
        *(
            ({"answer_schema": schema}, None)
            for schema in (
                True,
                {},
                {"type": "string", "pattern": "^a"},
                {"type": "string", "format": "uuid"},
                {"type": "integer", "multipleOf": 2},
                {"type": "integer", "enum": [1, 2]},
                {"type": ["string", "null"]},
                {"type": "array", "items": TEXT},
                {"enum": ["x", 1]},
                {"anyOf": [TEXT, {"type": "boolean"}]},
                {"type": "object"},
                {"type": "object", "properties": {}},
                {"type": "object", "properties": {"a": TEXT}, "required": ["b"]},
                {"type": "object", "properties": {"a": TEXT}, "additionalProperties": TEXT},
                {"type": "object", "properties": {"a": TEXT}, "minProperties": 1},
                {"type": "object", "properties": {"a": {"type": "object"}}},
                {"type": "object", "properties": {"a": False}},
            )
        ),
        (
            {"answer_schema": {"type": "object", "properties": {"a": TEXT}, "additionalProperties": False}},
            {"type": "object", "properties": {"a": TEXT}, "required": []},
        ),
    ],
)
def test_a_form_shows_a_question_as_it_is_or_not_at_all(question: dict[str, Any], form: dict[str, Any] | None) -> None:
    """Whatever a field cannot say is asked at an address, by a client that opens one."""
    asked = ASKED | question
    assert forms.form_of(asked) == form
    for can in (FORM, OLD):
        request = forms.request_of(asked, can, "https://x")
        assert (request is None) == (form is None)
        if request is not None:
            assert isinstance(request.params, types.ElicitRequestFormParams)
            assert request.params.requested_schema == form
    request = forms.request_of(asked, URL, "https://x")
    assert request is not None
    assert isinstance(request.params, types.ElicitRequestURLParams)
    assert request.params.url == "https://x"


@pytest.mark.parametrize(
    ("question", "content", "answer"),
    [
        ({}, {"answer": "x"}, {"value": "x"}),
        ({}, {"answer": None}, {"value": None}),
        ({}, {"other": "x"}, None),
        ({}, {}, None),
        ({}, None, None),
        ({"answer_schema": {"type": "object", "properties": {"a": TEXT}}}, {"a": "x"}, {"value": {"a": "x"}}),
        ({"answer_schema": {"type": "object", "properties": {"a": TEXT}}}, {}, {"value": {}}),
        ({"answer_schema": {"type": "array"}}, {"answer": "x"}, None),
    ],
)
def test_what_is_entered_is_the_answer(question: dict[str, Any], content: Any, answer: dict[str, Any] | None) -> None:
    """The whole of an object's form, else its one field; nothing else is an answer."""
    assert forms.answer_of(ASKED | question, content) == answer


def test_the_words_above_a_form_say_all_that_is_decided() -> None:
    """The question, its action with every argument, the words of the choices, and who asks."""
    said = forms.message_of(
        ASKED
        | {
            "title": "Deploy",
            "question": {"to": "all"},
            "action": {"name": "rm", "arguments": {"path": "/é"}, "server": "shell"},
            "choices": [{"value": "y", "label": "Yes", "description": "Now", "danger": True}, "n"],
        }
    )
    assert said.split("\n\n") == [
        "Deploy",
        '{"to": "all"}',
        'Action: rm of shell {"path": "/é"}',
        "y: Yes (dangerous). Now",
        "Asked by a (question R-1).",
    ]
