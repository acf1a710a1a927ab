"""A JSON value that is kept as text until somebody needs it.

Results and prompts may be megabytes: the hot path stores and forwards them without decoding. The text is what
orjson writes: UTF-8, no white space, no lone surrogates, no NaN. Numbers alone stand as they were written, with all
their digits, where orjson would round them or spell them differently.
"""

from __future__ import annotations

import json
import math
import re
import sys
from collections.abc import Callable
from decimal import Decimal
from functools import lru_cache, partial
from typing import Any, cast

import orjson

from app.domain.numbers import (
    MOST_DIGITS,
    ExactNumbers,
    PlainNumbers,
    canonical_number,
    count_digits,
    written_text,
)

_SHAPES = bytes.maketrans(b"123456789eE", b"000000000..")
_WIDE = b"0" * 19
"""So many digits in a row may be an integer beyond 64 bits."""
_SPACE = b" \t\r\n"
_DIGITS = b"0123456789"
_SHORT = 1024
"""Bytes of a text up to which it pays to look first whether it has a number at all."""
_TOKEN = re.compile(rb'"[^"\\]*(?:\\.[^"\\]*)*"|\d[\d.eE+-]*')
"""A text or, outside of texts, a number without its sign."""
_LONGEST_NUMBER = 4300
"""Digits that Python converts between `int` and text."""
_VALUE_NUMBERS = ExactNumbers(most=sys.maxsize, integers=_LONGEST_NUMBER)
_WRITTEN_NUMBERS = ExactNumbers(most=sys.maxsize)


class Json:
    """An immutable JSON value held as its text. Equal when the values are equal, whatever the spelling."""

    __slots__ = ("text",)

    def __init__(self, text: str) -> None:
        """`text` must be valid JSON (from `Json.of`, or from a column that only `Json` wrote)."""
        self.text = text

    @classmethod
    def of(cls, value: Any) -> Json:
        """Encode a Python value.

        Raises InvalidRequest for NaN, infinities and numbers of more than 4300 digits, TypeError for other types.
        """
        data = encode(value)
        if b"null" in data:  # which is what orjson makes of NaN and infinities
            _checked(value)
        return cls(data.decode())

    @property
    def value(self) -> Any:
        """The decoded value, made anew at each call: integers exact, floats that would change as `ExactFloat`."""
        return self._decoded(_VALUE_NUMBERS)

    @property
    def written(self) -> Any:
        """The decoded value for writing it again or comparing it; very long integers are `ExactFloat` as well."""
        return self._decoded(_WRITTEN_NUMBERS)

    def _decoded(self, numbers: ExactNumbers) -> Any:
        return orjson.loads(self.text) if self.text[0] == '"' else _exact(self.text.encode(), numbers)

    @property
    def plain(self) -> Any:
        """The decoded value with plain integers and floats, as a schema sees it.

        Raises NumbersTooLong when its large numbers have too many digits together.
        """
        data = self.text.encode()
        numbers = PlainNumbers()
        return _decode(data, numbers.real, numbers.integer) if _may_change(data) else orjson.loads(data)

    @property
    def fragment(self) -> orjson.Fragment:
        """For embedding into a larger document without decoding."""
        return orjson.Fragment(self.text)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Json):
            return NotImplemented
        return self.text == other.text or canonical(self.written) == canonical(other.written)

    def __hash__(self) -> int:
        return hash(canonical(self.written))

    def __repr__(self) -> str:
        return f"Json({self.text if len(self.text) <= 80 else self.text[:77] + '...'})"


def decode(data: bytes | bytearray, *, digits: int = MOST_DIGITS) -> Any:
    """Return the value of a JSON text. Numbers that a float would change become `ExactFloat`.

    Raises ValueError for invalid JSON, PayloadTooLarge for a number of more than `digits` digits.
    """
    return _exact(data, _numbers_of(digits))


@lru_cache(maxsize=16)
def _numbers_of(digits: int) -> ExactNumbers:
    """Return what reads numbers of up to so many digits. It keeps nothing of what it reads."""
    return ExactNumbers(most=digits)


def _exact(data: bytes | bytearray, numbers: ExactNumbers) -> Any:
    if len(data) <= _SHORT and data.translate(None, _DIGITS) == data:
        return orjson.loads(data)
    try:
        value = orjson.loads(data)
    except orjson.JSONDecodeError as error:
        if "infinity" not in error.msg:
            raise
        orjson.loads(_TOKEN.sub(_without_digits, data))  # finds what orjson refuses and json accepts
    else:
        if isinstance(value, str) or _keeps_numbers(value, data):
            return value
    return _decode(data, numbers.real, numbers.integer)


def _keeps_numbers(value: Any, data: bytes | bytearray) -> bool:
    """Whether orjson writes every number of a decoded text as it stands there. May be wrongly False."""
    try:
        again = orjson.dumps(value)
    except TypeError:  # nested deeper than orjson writes
        again = b""
    if again == data or not _may_change(data):
        return True
    return again.translate(None, _SPACE) == data.translate(None, _SPACE)


def _may_change(data: bytes | bytearray) -> bool:
    """Whether there may be numbers beyond 64 bits, with a fraction or an exponent, or minus zeros."""
    shapes = data.translate(_SHAPES)
    return b"0." in shapes or _WIDE in shapes or b"-0" in data


def _decode(data: bytes | bytearray, real: Callable[[str], float], integer: Callable[[str], float]) -> Any:
    try:
        return json.loads(data.decode(), parse_float=real, parse_int=integer, parse_constant=_refuse_constant)
    except RecursionError:
        raise ValueError("nested too deeply") from None


def _refuse_constant(name: str) -> Any:
    raise ValueError(f"{name} is no JSON")


def _without_digits(token: re.Match[bytes]) -> bytes:
    return token[0] if token[0][:1] == b'"' else b"0"


def encode(value: Any, *, option: int | None = None, default: Callable[[Any], Any] | None = None) -> bytes:
    """Return a value as JSON, with numbers and fragments as they were written, and NaN as null.

    `default` converts what JSON does not have.

    Raises TypeError for types that JSON does not have, InvalidRequest for numbers of more than 4300 digits.
    """
    convert = _as_written if default is None else partial(_as_written, default=default)
    try:
        return orjson.dumps(value, default=convert, option=option)
    except TypeError:
        return orjson.dumps(_checked(value), default=convert, option=option)


def _as_written(value: Any, default: Callable[[Any], Any] | None = None) -> Any:
    if (text := written_text(value)) is not None:
        return orjson.Fragment(text)
    if isinstance(value, Decimal) and value.is_finite() and count_digits(str(value)) <= _LONGEST_NUMBER:
        return orjson.Fragment(str(value))
    if default is not None:
        return default(value)
    raise TypeError(f"{type(value).__name__} is no JSON")


def _checked(value: Any) -> Any:
    """Return the value with wide integers in a form that orjson writes. Raises InvalidRequest for NaN and infinity."""
    if written_text(value) is not None:
        return value
    if isinstance(value, dict):
        return {key: _checked(item) for key, item in cast(dict[Any, Any], value).items()}
    if isinstance(value, list | tuple):
        return [_checked(item) for item in cast(list[Any], value)]
    if isinstance(value, float) and not math.isfinite(value):
        raise _invalid("JSON has no NaN and no infinity; give null or text instead")
    if isinstance(value, int) and not -(2**63) <= value < 2**64:
        return orjson.Fragment(_digits(value))
    return value


def _digits(number: int) -> str:
    try:
        return str(number)
    except ValueError as error:
        raise _invalid(f"an integer is too long: {error}") from error


def _invalid(reason: str) -> Exception:
    from app.domain.errors import InvalidRequest  # commands print JSON without this tree

    return InvalidRequest(reason)


def canonical(value: Any) -> bytes:
    """Return the bytes that all spellings of a JSON value share: members in order, numbers by their exact value."""
    data = encode(value, option=orjson.OPT_SORT_KEYS)
    return orjson.dumps(_canonical(value), option=orjson.OPT_SORT_KEYS) if _may_change(data) else data


def _canonical(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _canonical(item) for key, item in cast(dict[str, Any], value).items()}
    if isinstance(value, list):
        return [_canonical(item) for item in cast(list[Any], value)]
    if isinstance(value, int | float) and not isinstance(value, bool):
        number = canonical_number(value)
        return orjson.Fragment(number) if isinstance(number, str) else number
    return value


def same_json(a: Any, b: Any) -> bool:
    """Whether two decoded JSON values are equal as JSON (so `true` differs from 1, and 1 equals 1.0)."""
    return canonical(a) == canonical(b)


NULL = Json("null")
NO_ITEMS = Json("[]")
NO_MEMBERS = Json("{}")
