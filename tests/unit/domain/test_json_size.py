"""How many values a JSON text holds, counted from its bytes."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.domain import json_size
from app.domain.errors import PayloadTooLarge
from app.domain.json_size import check_values, count_values

TEXTS = st.text(alphabet='a\\"[]{}:, \né', max_size=8)
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | TEXTS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXTS, inner, max_size=4),
    max_leaves=20,
)


def counted(value: Any) -> int:
    """Count the values of a decoded document one by one."""
    if isinstance(value, dict):
        return 1 + sum(1 + counted(inner) for inner in value.values())
    return 1 + sum(map(counted, value)) if isinstance(value, list) else 1


@given(VALUES, st.sampled_from([1, 2, 3, 7, 1 << 18]), st.sampled_from([None, 1]), st.booleans())
def test_the_count_is_that_of_the_decoded_value(value: Any, piece: int, indent: int | None, ascii_only: bool) -> None:
    """However it is written, and wherever it is cut into pieces."""
    text = json.dumps(value, indent=indent, ensure_ascii=ascii_only).encode()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(json_size, "_PIECE", piece)
        assert count_values(text, 10**9) == counted(value)


def test_text_that_looks_like_values_is_accepted() -> None:
    """Commas and brackets inside a string are no values."""
    check_values(json.dumps("[],{}:" * 1000).encode(), 1)


@pytest.mark.parametrize("value", [[[]] * 100, {str(n): n for n in range(50)}, [["a"]] * 50, "[" * 60 + "]" * 60])
def test_too_many_values_are_refused(value: Any) -> None:
    """One more than the limit is too many, and the limit itself is not."""
    text = value.encode() if isinstance(value, str) else json.dumps(value).encode()
    count = counted(json.loads(text))

    check_values(text, count)
    with pytest.raises(PayloadTooLarge) as refused:
        check_values(text, count - 1)

    assert refused.value.fields() == {"what": "values", "limit": count - 1}
