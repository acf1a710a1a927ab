"""What is typed, read as an answer."""

from typing import Any

import pytest

from app.cli.answer_fields import Field, InvalidAnswer, assemble, fields_of, free
from app.cli.output import inert, short


@pytest.mark.parametrize(
    ("schema", "line", "value"),
    [
        ({"enum": ["a", "b", 3]}, "2", "b"),
        ({"enum": ["a", "b", 3]}, "b", "b"),
        ({"enum": [10, 20]}, "20", 20),
        ({"type": "boolean"}, "Yes", True),
        ({"type": "boolean"}, "n", False),
        ({"type": "integer"}, " 7 ", 7),
        ({"type": "number"}, "1.5", 1.5),
        ({"type": "string"}, " as typed ", " as typed "),
        ({"type": "array"}, "[1]", [1]),
        ({}, "text", "text"),
        ({}, '={"a": null}', {"a": None}),
    ],
)
def test_a_line_is_read_by_its_schema(schema: dict[str, Any], line: str, value: Any) -> None:
    """Numbers choose, words say yes or no, texts stay as they are, JSON stands behind an equals sign."""
    assert Field(name=None, schema=schema).read(line) == value


@pytest.mark.parametrize(
    ("schema", "line"),
    [
        ({"enum": ["a"]}, "2"),
        ({"enum": ["a"]}, ""),
        ({"type": "boolean"}, "perhaps"),
        ({"type": "integer"}, "1.5"),
        ({"type": "number"}, "one"),
        ({"type": "object"}, "{"),
        ({}, ""),
        ({}, "={"),
    ],
)
def test_what_does_not_fit_is_told(schema: dict[str, Any], line: str) -> None:
    """Nothing is guessed into an answer."""
    with pytest.raises(InvalidAnswer):
        Field(name=None, schema=schema).read(line)


def test_objects_are_asked_for_by_property() -> None:
    """What was left out is not in the answer, not even as null."""
    schema = {"type": "object", "properties": {"a": {"type": "integer"}, "b": True}, "required": ["a"]}
    fields = fields_of(None, schema)

    assert [(field.name, field.required) for field in fields] == [("a", True), ("b", False)]
    assert assemble(fields, [(1,), ()]) == {"a": 1}
    assert assemble(fields_of([1, 2], None), [(2,)]) == 2


def test_texts_of_agents_are_inert() -> None:
    """Control characters and marks of direction are shown, not obeyed; writing in any script stays."""
    assert inert("a\x1b[2J\x07\u202eb\u2066") == "a\\x1b[2J\\x07\\u202eb\\u2066"
    plain = "zwei\nZeilen\t–\u00a0für 漢字 é"
    assert inert(plain) == plain
    assert inert("two\nlines", lines=False) == "two\\nlines"
    assert short({"a": "x" * 100}, 20) == '{"a":"xxxxxxxxxxxxx…'
    assert free("plain") == "plain"
