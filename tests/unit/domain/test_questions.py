"""Questions: valid requests, and valid answers."""

from typing import Any

import pytest

from app.domain.errors import AnswerInvalid, InvalidRequest
from app.domain.json import Json
from app.domain.questions import Ask, OnDeadline, check_answer


def ask(**parts: Any) -> Ask:
    """Return a question with these fields, encoded as JSON where needed."""
    for name in ("answer_schema", "choices", "default_answer"):
        if name in parts:
            parts[name] = Json.of(parts[name])
    return Ask(question=Json.of("?"), **parts)


DEFAULT: dict[str, Any] = {"on_deadline": OnDeadline.DEFAULT, "deadline": 1}


@pytest.mark.parametrize(
    ("parts", "field"),
    [
        ({"answer_schema": {"type": 7}}, "answer_schema"),
        ({"answer_schema": [1]}, "answer_schema"),
        ({"choices": []}, "choices"),
        ({"on_deadline": OnDeadline.BLOCK}, "deadline"),
        ({"on_deadline": OnDeadline.DEFAULT, "deadline": 1}, "default"),
        ({"on_deadline": OnDeadline.ESCALATE, "deadline": 1}, "escalate_to"),
        ({**DEFAULT, "choices": ["a"], "default_answer": "b"}, "default"),
        (
            {
                "on_deadline": OnDeadline.DEFAULT,
                "deadline": 1,
                "answer_schema": {"type": "string"},
                "default_answer": 1,
            },
            "default",
        ),
    ],
    ids=str,
)
def test_a_contradictory_question_is_rejected(parts: dict[str, Any], field: str) -> None:
    """A question without a possible answer, or with an invalid default, is rejected when it is asked."""
    with pytest.raises(InvalidRequest) as raised:
        ask(**parts).check()
    assert raised.value.field == field


def test_complete_questions_are_accepted() -> None:
    """A default may be null, and a schema may have references."""
    ask().check()
    ask(deadline=1).check()
    ask(on_deadline=OnDeadline.DEFAULT, deadline=1, default_answer=None).check()
    ask(on_deadline=OnDeadline.ESCALATE, deadline=1, escalate_to="lead").check()
    ask(answer_schema={"$ref": "#/$defs/a", "$defs": {"a": {"type": "string"}}}).check()


@pytest.mark.parametrize(
    ("answer", "schema", "choices", "fits"),
    [
        ("a", None, None, True),
        ("a", {"type": "string"}, None, True),
        (1, {"type": "string"}, None, False),
        ({"a": 1}, {"required": ["a"], "properties": {"a": {"maximum": 0}}}, None, False),
        ("b", None, ["a", "b"], True),
        ("c", None, ["a", "b"], False),
        (True, None, [1], False),
        (1, None, [True], False),
        (1.0, None, [1], True),
        ({"b": 2, "a": [1]}, None, [{"a": [1], "b": 2}], True),
        (None, None, [None], True),
        ("a", {"$ref": "https://example.org/schema"}, None, False),
        ("a", {"$ref": "#/$defs/missing"}, None, False),
        ("a", {"$ref": "#"}, None, False),
    ],
    ids=str,
)
def test_an_answer_is_validated(answer: Any, schema: Any, choices: Any, fits: bool) -> None:
    """Answers are compared with the choices as JSON and validated by the schema, which refers to nothing outside."""
    parts = [None if part is None else Json.of(part) for part in (schema, choices)]

    if fits:
        check_answer("R-1", Json.of(answer), *parts)
    else:
        with pytest.raises(AnswerInvalid) as raised:
            check_answer("R-1", Json.of(answer), *parts)
        assert raised.value.key == "R-1"
        assert "still open" in str(raised.value)
