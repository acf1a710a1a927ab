import random
import time
from typing import Any

import pytest

from app.domain.answer_schemas import check_schema, first_violation
from app.domain.errors import InvalidRequest
from app.domain.json import Json

DOUBLING: dict[str, Any] = {"a0": {"type": "integer"}} | {
    f"a{n}": {"allOf": [{"$ref": f"#/$defs/a{n - 1}"}, {"$ref": f"#/$defs/a{n - 1}"}]} for n in range(1, 60)
}
LEAF = {"$ref": "#"}
# Of this process, so that a busy machine fails nothing.
CPU_LIMIT_S = 0.25

DIGITS = "".join(random.Random(1).choices("01", k=900_000))


@pytest.mark.parametrize(
    "schema",
    [
        {"type": "string", "pattern": "^[a-z]+$"},
        {"type": "string", "pattern": "^(?=.*[0-9]).{8,}$"},
        {"type": "string", "pattern": "^\\p{L}[\\w .,'-]{1,100}$"},
        {"$defs": {"line": {"type": "string"}}, "type": "array", "items": {"$ref": "#/$defs/line"}},
        {"$id": "https://example.org/tree", "properties": {"children": {"type": "array", "items": LEAF}}},
        {"properties": {"$ref": {"type": "string"}, "enum": {"type": "integer"}, "default": {"const": 1}}},
        {"$schema": "https://json-schema.org/draft/2020-12/schema", "oneOf": [{"type": "null"}, {"type": "number"}]},
    ],
    ids=str,
)
def test_common_schemas_are_accepted(schema: dict[str, Any]) -> None:
    """Patterns with look-ahead, definitions, trees, and properties that are named like keywords."""
    check_schema(Json.of(schema))


@pytest.mark.parametrize(
    "schema",
    [
        {"type": 12},
        {"pattern": "("},
        {"$ref": "#"},
        {"$ref": "https://example.org/schema"},
        {"$ref": "#/$defs/missing"},
        {"$ref": "#there", "$defs": {"a": {"$anchor": "there"}}},
        {"$dynamicRef": "#x", "$dynamicAnchor": "x"},
        {"items": {"$id": "https://example.org/inner", "items": {"$ref": "#"}}},
        {"$defs": {"a": {"$ref": "#/$defs/b"}, "b": {"$ref": "#/$defs/a"}}, "$ref": "#/$defs/a"},
        {"properties": {"a": {"allOf": [LEAF, LEAF]}}},
        {"properties": {"default": {"allOf": [{"$ref": "#"}, {"$ref": "#"}]}}},
        {"$defs": DOUBLING, "$ref": "#/$defs/a59"},
        {"$defs": DOUBLING, "$ref": "#/%24defs/a59"},
        {"$defs": {"list": [DOUBLING]}, "properties": {"enum": {"$ref": "#/$defs/list/0/a59"}}},
        "text",
    ],
    ids=lambda schema: str(schema)[:60],
)
def test_invalid_and_explosive_schemas_are_rejected_quickly(schema: Any) -> None:
    """Invalid, external or exponentially growing schemas fail when the question is asked, not when it is answered."""
    started = time.process_time()

    with pytest.raises(InvalidRequest):
        check_schema(Json.of(schema))
    assert time.process_time() - started < CPU_LIMIT_S


@pytest.mark.parametrize(
    ("schema", "answer"),
    [
        ({"type": "string", "pattern": "^(a+)+$"}, "a" * 60 + "!"),
        ({"patternProperties": {"^(a|aa)+$": True}, "additionalProperties": False}, {"a" * 60 + "!": 1}),
        ({"$defs": DOUBLING, "items": {"$ref": "#/$defs/a13"}}, ["x"] * 100_000),
        ({"pattern": "(?=.*a)(?=.*b).*c.*d.*e$"}, "ab" * 500_000),
        ({"pattern": "(?=.*a)(?=.*b).*c.*d.*e$"}, "ab" * 500),
        ({"pattern": "(?=0|1)([01]*1[01]{5}){200}2"}, "01" * 500),
        ({"propertyNames": {"pattern": "(?=.*a).*b.*c$"}}, {"a" * 400_000: 1}),
        ({"pattern": "[01]*1[01]{2000}2"}, DIGITS),
        ({"pattern": "[01]*1[01]{2000}2"}, DIGITS[:25_000]),
        ({"pattern": "[01]*1[01]{100}2"}, DIGITS[:300_000]),
        ({"items": {"enum": [{"a": n} for n in range(9_000)]}}, [{"a": -1}] * 9_000),
        ({"patternProperties": {f"[01]*1[01]{{9}}{n}": False for n in range(30)}, "minProperties": 9}, {DIGITS: 1}),
        ({"pattern": "(a{1,100}){1,20}b"}, "a" * 24_000),
        ({"items": {"anyOf": [{"const": n} for n in range(20)]}}, [19] * 99_000),
    ],
    ids=[
        *(
            "nested repetition",
            "repeated alternatives",
            "much of both",
            "look-ahead, long",
            "look-ahead",
            "look-ahead, wide",
        ),
        *("names", "counted", "counted, shorter", "counted less", "values to compare with", "many expressions"),
        *("counted twice", "many alternatives"),
    ],
)
def test_no_answer_keeps_the_server_busy(schema: dict[str, Any], answer: Any) -> None:
    """Backtracking is limited, and a large answer is not validated against a large schema."""
    started = time.process_time()

    assert first_violation(Json.of(schema), Json.of(answer)) is not None
    assert time.process_time() - started < CPU_LIMIT_S


@pytest.mark.parametrize(
    ("pattern", "fitting", "other"),
    [
        ("^[a-z ]+$", "word " * 50_000, "word! " * 50_000),
        ("^\\w{1,64}$", "name", "n m"),
        ("^(?=.*[0-9]).{8,}$", "password1", "password"),
        ("^(?!.*secret)", "nothing " * 100, "nothing " * 100 + "secret"),
    ],
)
def test_patterns_are_applied(pattern: str, fitting: str, other: str) -> None:
    """Simple patterns apply to long texts, complex ones to short texts."""
    schema = Json.of({"pattern": pattern})

    assert first_violation(schema, Json.of(fitting)) is None
    assert first_violation(schema, Json.of(other)) is not None


def test_only_the_first_violation_is_reported_and_briefly() -> None:
    """Many violations cost no more than one, and the reason does not repeat a long answer."""
    needed = {"items": {"required": [str(n) for n in range(2_000)], "multipleOf": 5e-324}}
    started = time.process_time()

    found = first_violation(Json.of(needed), Json.of([{"x" * 10_000: n} for n in range(1_000)]))
    assert found is not None
    assert len(found[0]) <= 500
    assert first_violation(Json.of({"items": {"multipleOf": 5e-324}}), Json.of([1.7e308] * 1_000_000)) is not None
    assert time.process_time() - started < CPU_LIMIT_S


def test_a_violation_has_a_path() -> None:
    """The path is in the usual notation, `$.a[1]`."""
    schema = Json.of({"properties": {"a": {"items": {"maximum": 3}}}})

    found = first_violation(schema, Json.of({"a": [1, 7]}))
    assert found is not None
    assert found[1] == "$.a[1]"
    assert first_violation(schema, Json.of({"a": [1]})) is None
