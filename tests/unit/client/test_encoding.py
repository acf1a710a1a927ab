"""Numbers keep their digits on the way through the client, and what JSON does not have is refused."""

import copy
import math
from datetime import UTC, datetime
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from swarmhold import ExactFloat, InvalidArgument
from swarmhold.encoding import encode
from swarmhold.models.frames import Answer
from swarmhold.models.numbers import decode
from swarmhold.models.outputs import Final, Inline
from swarmhold.models.questions import Question

NUMBERS = st.from_regex(r"-?(0|[1-9][0-9]{0,30})(\.[0-9]{1,25})?([eE][+-]?[0-9]{1,3})?", fullmatch=True)


@given(st.lists(NUMBERS))
def test_numbers_are_sent_as_they_were_received(numbers: list[str]) -> None:
    """Alone, as a field of a model, and inside a value of one."""
    text = f"[{','.join(numbers)}]"
    value = decode(text)
    assert encode(value).decode() == text
    assert (
        encode(Answer(key="R-1", value={"a": value})).decode()
        == f'{{"type":"answer","key":"R-1","value":{{"a":{text}}}}}'
    )
    assert encode(Final(content=Inline(value=value), ok=True)).decode() == (
        f'{{"type":"final","content":{{"kind":"inline","value":{text}}},"ok":true}}'
    )


@pytest.mark.parametrize("text", ["9007199254740993", "1.10", "-0", "1e400", "20000000000000000001"])
def test_a_choice_is_sent_back_as_it_came(text: str) -> None:
    """From the model of a question to the frame of its answer."""
    fields = {"key": "R-1", "task_id": "T-1", "attempt": 1, "agent": "a", "on_deadline": "keep_waiting"}
    fields |= {"status": "open", "asked_at": "2026-01-31T09:30:00Z", "delivered_to": [], "question": {"n": 1}}
    received = decode(encode(fields).decode().replace('{"n":1}', f'{{"n":{text}}},"choices":[{text}]'))
    question = Question.model_validate(received)
    assert question.choices is not None
    assert encode(question.choices[0]).decode() == text
    assert encode(question.as_json()["question"]).decode() == f'{{"n":{text}}}'
    assert question.as_json()["asked_at"] == "2026-01-31T09:30:00.000Z"


def test_an_exact_float_is_a_float() -> None:
    """It computes, shows its text, and keeps it in a copy."""
    number = decode("1.10")
    assert isinstance(number, ExactFloat)
    assert (number + 1, str(number), copy.deepcopy(number).text) == (2.1, "1.10", "1.10")
    assert type(decode("1.5")) is float
    assert int(decode("1e30")) == 10**30


@pytest.mark.parametrize(
    "value", [math.nan, [math.inf], {"a": [ExactFloat("1.10"), -math.inf]}, Decimal("NaN"), {1.5: object()}]
)
def test_what_json_does_not_have_is_refused(value: object) -> None:
    """Also beside an exact number."""
    with pytest.raises(InvalidArgument):
        encode(value)


def test_values_beside_exact_numbers_are_converted() -> None:
    """As they are without one, names included."""
    instant = datetime(2026, 1, 31, tzinfo=UTC)
    plain = encode([instant, {"\u00e9": ("a", True, None)}, {1: 2}])
    assert encode([instant, {"\u00e9": ("a", True, None)}, {1: 2}, Decimal("1.10")]) == plain[:-1] + b",1.10]"
