"""Numbers keep the text that they were written as, and are compared by their exact value."""

import copy
import json
import math
import pickle
import time
from decimal import Decimal

import orjson
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from app.domain.answer_schemas import first_violation
from app.domain.errors import PayloadTooLarge
from app.domain.json import Json, canonical, decode, encode, same_json
from app.domain.numbers import ExactFloat, count_digits

NUMBERS = st.one_of(
    st.from_regex(r"-?(0|[1-9][0-9]{0,40})(\.[0-9]{1,30})?([eE][+-]?[0-9]{1,3})?", fullmatch=True),
    st.from_regex(r"-?(0|[1-9][0-9]{0,3})(\.[0-9]{1,3})?([eE][+-]?[0-9])?", fullmatch=True),
    st.sampled_from(["1", "1.0", "1e0", "-0", "0", "0.0", "100", "1e2", "1E+2", "0.1", "1e400", "1e-400", "1e23"]),
)
"""Numbers as JSON may write them."""


def _array(items: list[str]) -> str:
    return f"[{','.join(items)}]"


def _object(items: list[str]) -> str:
    members = [f'"k{place}":{item}' for place, item in enumerate(items)]
    return f"{{{','.join(members)}}}"


DOCUMENTS = st.recursive(
    NUMBERS | st.sampled_from(['"1.10"', '"a 1e5, \\"-0\\""', "true", "null", '"\u00e9"']),
    lambda inner: st.lists(inner, max_size=4).map(_array) | st.lists(inner, max_size=4).map(_object),
    max_leaves=12,
)
"""JSON documents without white space, with any numbers."""
CPU_LIMIT_S = 2.0


@given(DOCUMENTS)
@example("[20000000000000000001]")
@example("1e400")
def test_a_document_is_written_again_with_the_digits_that_it_had(text: str) -> None:
    """Whether it was read as a body, kept as text, decoded again, or embedded into another document."""
    kept = Json.of(decode(text.encode()))
    assert kept.text == text
    assert Json.of(kept.value).text == text
    assert encode({"in": kept.written, "as": kept.fragment}).decode() == f'{{"in":{text},"as":{text}}}'
    assert Json.of(decode(f" [ {text} ]\n".encode())).text == f"[{text}]"
    assert Json(text) == kept


@given(NUMBERS, NUMBERS)
@example("1e23", "100000000000000000000000")
@example("9007199254740993", "9007199254740992.0")
@example("9007199254740993.0", "9007199254740993")
@example("0.30000000000000004", "0.3000000000000000400")
@example("1e400", "1" + "0" * 400)
def test_numbers_are_equal_when_their_exact_values_are(one: str, other: str) -> None:
    """`decimal` is the judge; equal values have equal hashes, and are equal inside others."""
    equal = Decimal(one) == Decimal(other)
    assert (Json(one) == Json(other)) is equal
    assert (Json(f'{{"a":[{one}],"b":1}}') == Json(f'{{"b":1.0,"a":[{other}]}}')) is equal
    assert same_json(decode(one.encode()), decode(other.encode())) is equal
    if equal:
        assert hash(Json(one)) == hash(Json(other))


@given(NUMBERS)
def test_every_spelling_of_a_number_is_equal_to_it(text: str) -> None:
    """With an exponent, as an integer or fraction written out, and with zeros at its end."""
    exact = Decimal(text)
    for spelling in (f"{exact:f}", f"{exact:E}".replace("E", "e"), f"{exact:f}{'' if '.' in f'{exact:f}' else '.'}000"):
        assert Json(spelling) == Json(text)
        assert canonical(Json(spelling).written) == canonical(Json(text).written)


def test_a_boolean_is_no_number() -> None:
    """True is not 1, however that is written."""
    assert all(Json("true") != Json(one) for one in ("1", "1.0", "1e0", "10e-1"))
    assert Json("0") != Json("false")


@pytest.mark.parametrize(
    ("text", "digits"),
    [("0", 1), ("-120", 3), ("1.50", 3), ("1e3", 4), ("1.5e3", 4), ("15e-1", 2), ("1e-3", 4), ("-1E+0002", 3)],
)
def test_digits_are_counted_with_the_exponent_written_out(text: str, digits: int) -> None:
    """As many as a person would write without an exponent."""
    assert count_digits(text) == digits


@pytest.mark.parametrize(
    "text",
    [
        "1e999999999",
        "1e99999999999999999999999999",
        "-1e-999999999",
        "0e999999999",
        "9" * 4097,
        f"0.{'0' * 4096}",
        "1e4096",
        "1e-4096",
    ],
    ids=lambda text: text[:20],
)
def test_a_number_of_too_many_digits_is_refused_before_it_is_computed_with(text: str) -> None:
    """Alone and inside; its error names the limit. One digit less is kept."""
    started = time.process_time()
    for body in (text, f"[1,{text}]", f'{{"a":{text}}}'):
        with pytest.raises(PayloadTooLarge) as raised:
            decode(body.encode(), digits=4096)
        assert (raised.value.what, raised.value.limit) == ("digits", 4096)
    assert time.process_time() - started < CPU_LIMIT_S


@pytest.mark.parametrize("text", ["1e4095", "1e-4095", "9" * 4096, f"0.{'0' * 4094}1"], ids=lambda text: text[:9])
def test_a_number_of_exactly_the_limit_is_kept(text: str) -> None:
    """And compared without delay."""
    started = time.process_time()
    assert Json.of(decode(text.encode())).text == text
    assert all(Json(text) != Json(other) for other in ("1", "1e4094", "1e-4094"))
    assert time.process_time() - started < CPU_LIMIT_S


@pytest.mark.parametrize(
    "text",
    ["NaN", "[1e400,NaN]", "[1e400,01]", "1e", "[1e400,1.]", '["\\ud800",1e400]', '[1e400,"\\x"]', "[1e400", "-"],
)
def test_what_is_no_json_stays_no_json_beside_a_number_beyond_floats(text: str) -> None:
    """Texts, constants and numbers are as strict as without it."""
    with pytest.raises(ValueError):  # noqa: PT011 - orjson's and json's errors differ, and both are ValueErrors
        decode(text.encode())


def test_an_exact_float_computes_and_survives_a_copy() -> None:
    """It is a float, its integer part is exact, and copies keep the text."""
    number = decode(b"1.10")
    assert isinstance(number, ExactFloat)
    assert number * 2 == 2.2
    assert f"{number} {number!r}" == "1.10 1.10"
    assert int(decode(b"1e400")) == 10**400
    assert math.isinf(decode(b"1e400"))
    for same in (copy.copy(number), copy.deepcopy([number])[0], pickle.loads(pickle.dumps(number))):  # noqa: S301 - our own
        assert same.text == "1.10"


def test_a_decimal_is_written_with_its_digits() -> None:
    """In-process functions may return one; what is no number, or too long, is refused."""
    assert Json.of([Decimal("1.10"), Decimal("1e30")]).text == "[1.10,1E+30]"
    for wrong in ("NaN", "Infinity", "1e999999999"):
        with pytest.raises((TypeError, ValueError)):
            Json.of(Decimal(wrong))


@pytest.mark.parametrize("text", ["0.5", "-0.0", "1.5e+300", "[0.1,1,true]", '{"a":2.5}'])
def test_what_a_float_writes_alike_is_a_plain_float(text: str) -> None:
    """Nothing changes for ordinary numbers."""
    assert decode(text.encode()) == orjson.loads(text)
    assert "ExactFloat" not in repr([type(item) for item in [decode(text.encode())]])


@pytest.mark.parametrize(
    ("schema", "fitting", "other"),
    [
        ('{"maximum":9007199254740992}', "9007199254740992", "9007199254740993"),
        ('{"maximum":20000000000000000000}', "2e19", "20000000000000000001"),
        ('{"type":"integer"}', "1.0e400", "1.5"),
        ('{"const":1e23}', "100000000000000000000000", "100000000000000000000001"),
        ('{"multipleOf":3}', "30000000000000000000003", "30000000000000000000004"),
        ('{"maximum":1.10}', "1.1", "1.2"),
        ('{"type":"number"}', "1.10", '"1.10"'),
    ],
)
def test_a_schema_sees_integers_exactly(schema: str, fitting: str, other: str) -> None:
    """However they are written; other numbers as floats."""
    assert first_violation(Json(schema), Json(fitting)) is None
    assert first_violation(Json(schema), Json(other)) is not None


def test_very_many_large_numbers_do_not_keep_a_schema_busy() -> None:
    """They are rejected with a reason instead."""
    started = time.process_time()
    found = first_violation(Json("{}"), Json(json.dumps([1]).replace("1", ",".join(["1e4000"] * 100_000))))
    assert found is not None
    assert "numbers" in found[0]
    assert time.process_time() - started < CPU_LIMIT_S
