"""JSON values, outputs and sessions."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.domain.errors import InvalidRequest
from app.domain.json import NULL, Json, same_json
from app.domain.outputs import OutputEvent
from app.domain.sessions import OperatorKind, collapse_operator_kind

TEXTS = st.text(st.characters(exclude_categories=["Cs"]))
SCALARS = st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.floats(allow_nan=False, allow_infinity=False)
VALUES = st.recursive(
    SCALARS | TEXTS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXTS, inner, max_size=4),
    max_leaves=20,
)


@given(VALUES)
def test_a_value_comes_back_as_it_was(value: object) -> None:
    """Text and value are the same thing."""
    json = Json.of(value)
    assert same_json(json.value, value)
    assert Json(json.text) == json
    assert hash(Json(json.text)) == hash(json)


def test_equality_is_that_of_json() -> None:
    """Spelling and the order of keys do not matter, and true is not 1."""
    assert Json('{"a": 1, "b": [2.0]}') == Json('{"b":[2],"a":1.0}')
    assert Json("true") != Json("1")
    assert Json("[false]") != Json("[0]")
    assert Json("null") == NULL
    assert Json("1") != 1


@pytest.mark.parametrize("value", ["\ud800", pytest.param(object(), id="object"), {1: "a"}, b"bytes"], ids=repr)
def test_what_json_cannot_say_is_refused(value: object) -> None:
    """No value is turned into another one silently."""
    with pytest.raises((TypeError, ValueError)):
        Json.of(value)


@pytest.mark.parametrize("number", [math.nan, math.inf, -math.inf])
def test_what_is_no_number_is_refused_at_any_depth(number: float) -> None:
    """NaN and infinities are refused, also beside a null and beside an integer beyond 64 bits."""
    for value in (number, [None, {"a": (1.5, number)}], {"wide": 10**30, "b": [number]}):
        with pytest.raises(InvalidRequest, match="NaN"):
            Json.of(value)
    assert Json.of([None, "null", 1.5]).value == [None, "null", 1.5]


@given(st.recursive(st.integers() | st.floats(allow_nan=False, allow_infinity=False) | TEXTS | st.none(), st.lists))
def test_integers_keep_all_their_digits(value: object) -> None:
    """Integers of any size come back exactly, alone or inside, embedded in another value, and as equal values."""
    json = Json.of({"value": value})
    assert json.value == {"value": value}
    assert Json.of([json.fragment]).value == [{"value": value}]
    assert Json(f" {json.text}") == json
    assert hash(Json(f" {json.text}")) == hash(json)


@pytest.mark.parametrize("number", [2**63 - 1, 2**63, 2**64 - 1, 2**64, -(2**63), -(2**63) - 1, 10**400, -(10**4000)])
def test_integers_around_64_bits_keep_all_their_digits(number: int) -> None:
    """There is no gap where the encoder changes its way."""
    found = Json.of([number]).value
    assert found == [number]
    assert type(found[0]) is int


def test_an_integer_that_python_does_not_print_is_refused() -> None:
    """More than 4300 digits are refused with a reason."""
    with pytest.raises(InvalidRequest, match="too long"):
        Json.of(10**5000)


def test_long_values_are_shown_short() -> None:
    """The repr of a long value is truncated."""
    assert len(repr(Json.of("x" * 1000))) < 100


def test_outputs_have_their_fields() -> None:
    """Each type of output has its own fields."""
    assert OutputEvent.progress("read", "half").body.value == {"stage": "read", "note": "half"}
    assert OutputEvent.partial([1]).body.value == {"chunk": [1]}
    assert OutputEvent.artifact("a", 1).body.value == {"name": "a", "content": {"kind": "inline", "value": 1}}
    assert OutputEvent.final(1, ok=False).body.value == {"content": {"kind": "inline", "value": 1}, "ok": False}


AUTOMATE, MAIN, BOTH = OperatorKind.AUTOMATE, OperatorKind.MAIN_AI, OperatorKind.COMPOSITE


@pytest.mark.parametrize(
    ("runtime_agent", "runtime", "blueprint_agent", "blueprint", "expected"),
    [
        (MAIN, AUTOMATE, AUTOMATE, AUTOMATE, MAIN),
        (None, AUTOMATE, MAIN, MAIN, AUTOMATE),
        (None, None, BOTH, MAIN, BOTH),
        (None, None, None, MAIN, MAIN),
        (None, None, None, None, None),
    ],
)
def test_the_first_tier_that_is_set_decides(
    runtime_agent: OperatorKind | None,
    runtime: OperatorKind | None,
    blueprint_agent: OperatorKind | None,
    blueprint: OperatorKind | None,
    expected: OperatorKind | None,
) -> None:
    """Runtime per agent, runtime global (an explicit `automate` counts), blueprint per agent, blueprint global."""
    assert (
        collapse_operator_kind(
            "a",
            runtime_agents={"b": BOTH} | ({"a": runtime_agent} if runtime_agent else {}),
            runtime_global=runtime,
            blueprint_agents={"b": MAIN} | ({"a": blueprint_agent} if blueprint_agent else {}),
            blueprint_global=blueprint,
        )
        is expected
    )
