"""A JSON value that is kept as text until somebody needs it.

Results and prompts may be megabytes: the hot path stores and forwards them without decoding. The text is what
orjson writes: UTF-8, no white space, no lone surrogates, no NaN. Integers keep all their digits, also those that do
not fit into 64 bits, which orjson alone would refuse to write and would read as floats.
"""

from __future__ import annotations

import json
import math
from typing import Any, cast

import orjson

from app.domain.errors import InvalidRequest

_ANY_DIGIT = bytes.maketrans(b"123456789", b"0" * 9)
_WIDE = b"0" * 19
"""So many digits in a row, once each digit is a 0, may be an integer beyond 64 bits."""


class Json:
    """An immutable JSON value held as its text. Equal when the values are equal, whatever the spelling."""

    __slots__ = ("text",)

    def __init__(self, text: str) -> None:
        """`text` must be valid JSON (from `Json.of`, or from a column that only `Json` wrote)."""
        self.text = text

    @classmethod
    def of(cls, value: Any) -> Json:
        """Encode a Python value.

        Raises InvalidRequest for NaN, infinities and integers of more than 4300 digits, TypeError for what is no JSON.
        """
        return cls(_encode(value).decode())

    @property
    def value(self) -> Any:
        """The decoded value, made anew at each call."""
        text = self.text
        if len(text) >= len(_WIDE) and _WIDE in text.encode().translate(_ANY_DIGIT):
            return json.loads(text)
        return orjson.loads(text)

    @property
    def fragment(self) -> orjson.Fragment:
        """For embedding into a larger document without decoding."""
        return orjson.Fragment(self.text)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Json):
            return NotImplemented
        return self.text == other.text or same_json(self.value, other.value)

    def __hash__(self) -> int:
        return hash(_encode(self.value, option=orjson.OPT_SORT_KEYS))

    def __repr__(self) -> str:
        return f"Json({self.text if len(self.text) <= 80 else self.text[:77] + '...'})"


def _encode(value: Any, *, option: int | None = None) -> bytes:
    try:
        data = orjson.dumps(value, option=option)
    except TypeError:
        return orjson.dumps(_checked(value), option=option)
    if b"null" in data:  # which is what orjson makes of NaN and infinities
        _checked(value)
    return data


def _checked(value: Any) -> Any:
    """Return the value with wide integers in a form that orjson writes. Raises InvalidRequest for NaN and infinity."""
    if isinstance(value, dict):
        return {key: _checked(item) for key, item in cast(dict[Any, Any], value).items()}
    if isinstance(value, list | tuple):
        return [_checked(item) for item in cast(list[Any], value)]
    if isinstance(value, float) and not math.isfinite(value):
        raise InvalidRequest("JSON has no NaN and no infinity; give null or text instead")
    if isinstance(value, int) and not -(2**63) <= value < 2**64:
        return orjson.Fragment(_digits(value))
    return value


def _digits(number: int) -> str:
    try:
        return str(number)
    except ValueError as error:
        raise InvalidRequest(f"an integer is too long: {error}") from error


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
