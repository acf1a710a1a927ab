"""A JSON value that is kept as text until somebody needs it.

Results and prompts may be megabytes: the hot path stores and forwards them without decoding. The text is what
orjson writes: UTF-8, no white space, no lone surrogates, no NaN.
"""

from __future__ import annotations

from typing import Any, cast

import orjson


class Json:
    """An immutable JSON value held as its text. Equal when the values are equal, whatever the spelling."""

    __slots__ = ("text",)

    def __init__(self, text: str) -> None:
        """`text` must be valid JSON (from `Json.of`, or from a column that only `Json` wrote)."""
        self.text = text

    @classmethod
    def of(cls, value: Any) -> Json:
        """From a Python value. Raises TypeError or ValueError for what JSON cannot say."""
        return cls(orjson.dumps(value).decode())

    @property
    def value(self) -> Any:
        """The decoded value, made anew at each call."""
        return orjson.loads(self.text)

    @property
    def fragment(self) -> orjson.Fragment:
        """For embedding into a larger document without decoding."""
        return orjson.Fragment(self.text)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Json):
            return NotImplemented
        return self.text == other.text or same_json(self.value, other.value)

    def __hash__(self) -> int:
        return hash(orjson.dumps(orjson.loads(self.text), option=orjson.OPT_SORT_KEYS))

    def __repr__(self) -> str:
        return f"Json({self.text if len(self.text) <= 80 else self.text[:77] + '...'})"


def same_json(a: Any, b: Any) -> bool:
    """Whether two decoded JSON values are equal as JSON (so `true` differs from 1, and 1 equals 1.0)."""
    if isinstance(a, bool) or isinstance(b, bool):
        return a is b
    if isinstance(a, dict) and isinstance(b, dict):
        left, right = cast(dict[str, Any], a), cast(dict[str, Any], b)
        return left.keys() == right.keys() and all(same_json(left[k], right[k]) for k in left)
    if isinstance(a, list) and isinstance(b, list):
        first, second = cast(list[Any], a), cast(list[Any], b)
        return len(first) == len(second) and all(map(same_json, first, second))
    return bool(a == b)


NULL = Json("null")
