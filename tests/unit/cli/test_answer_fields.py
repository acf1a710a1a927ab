"""What is typed, read as an answer."""

import json
from typing import Any

import pytest

from app.cli.answer_fields import Field, InvalidAnswer, assemble, fields_of, free, left_out
from app.cli.output import inert, literal, short, shown


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


def test_values_are_shown_as_they_are_sent() -> None:
    """What cannot be seen or could be mistaken is an escape of the JSON; what looks like another value has quotes."""
    values = [
        "p\u0430y",
        "a\u200bb",
        "\u202eexe",
        "a\u00a0b",
        "\U000e0041",
        "\uff41",
        "\u0441\u043b\u043e\u0432\u043e",
        "zwölf",
        "1",
        " a",
        "",
    ]

    assert [json.loads(literal(value)) for value in values] == values
    assert [shown(value) for value in values] == [
        r'"p\u0430y"',
        r'"a\u200bb"',
        r'"\u202eexe"',
        r'"a\u00a0b"',
        r'"\udb40\udc41"',
        r'"\uff41"',
        "\u0441\u043b\u043e\u0432\u043e",
        "zwölf",
        '"1"',
        '" a"',
        '""',
    ]
    assert [shown(value) for value in (True, "true", None, {"a": 1})] == ["true", '"true"', "null", '{"a":1}']


def test_words_about_a_value_are_the_askers() -> None:
    """Constants and listed constants are options; what they are called stands behind them."""
    listed = Field(name="x", schema={"oneOf": [{"const": "DELETE", "title": "Keep"}, {"const": 2}], "title": "T"})

    assert [str(option) for option in listed.options or ()] == ["DELETE (asker: “Keep”)", "2"]
    assert (listed.read("1"), listed.title) == ("DELETE", "x (asker: “T”)")
    assert Field(name=None, schema={"oneOf": [{"const": 1}, {"type": "string"}]}).options is None
    assert left_out(fields_of(None, {"type": "object", "properties": {"a": {}, "b": {}}}), {"b": 1}) == ["a"]
