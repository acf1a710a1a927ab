"""JSON texts within limits: their values are counted from the bytes before anything is built from them."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, cast

from app.domain.errors import PayloadTooLarge
from app.domain.json import decode
from app.domain.limits import Limits

DEEPEST = 200
"""Maximum nesting of a value: less than orjson can serialise inside a larger document."""

_PIECE = 256 * 1024
"""Bytes that are looked at in one step, so that other threads get their turn between the steps."""
_SPACE = b" \t\r\n"


class NestedTooDeep(ValueError):
    """A JSON value has more levels than may be stored."""

    def __init__(self) -> None:
        super().__init__(f"nested deeper than {DEEPEST} levels")


def decode_within(text: bytes | bytearray, limits: Limits) -> Any:
    """Return the value of a JSON text within the limits of values and digits.

    Raises PayloadTooLarge, ValueError for invalid JSON, and NestedTooDeep.
    """
    check_values(text, limits.values)
    value = decode(text, digits=limits.digits)
    if text.count(b"[") + text.count(b"{") > DEEPEST and _depth(value) > DEEPEST:
        raise NestedTooDeep
    return value


def _depth(value: Any) -> int:
    depth, level = 0, [value]
    while level:
        depth += 1
        level = [inner for outer in level for inner in _inside(outer)]
    return depth


def _inside(value: Any) -> Iterable[Any]:
    if isinstance(value, dict):
        return cast("dict[str, Any]", value).values()
    return cast("list[Any]", value) if isinstance(value, list) else ()


def check_values(text: bytes | bytearray, limit: int) -> None:
    """Raise PayloadTooLarge when a JSON text holds more values than the limit, counted as `count_values` does.

    Texts that cannot hold so many are accepted by their length, or by one count of their punctuation.
    """
    if len(text) > limit and _punctuation(text) >= limit and count_values(text, limit) > limit:
        raise PayloadTooLarge("values", limit)


def count_values(text: bytes | bytearray, limit: int) -> int:
    """Return how many values a JSON text holds: each object, array, scalar and member name counts one.

    The count may stop early above the limit. Of a text that is not valid JSON, what stands before the first error is
    counted.
    """
    count, inside, start, opened = 1, False, 0, b""
    while start < len(text) and count <= limit:
        end = _end_of_piece(text, start)
        parts = text[start:end].replace(rb"\\", b"").replace(rb"\"", b"").split(b'"')
        # Strings leave their quotation mark, so that an array with one string does not look empty.
        outside = (b'"' if inside else opened) + b'"'.join(parts[inside::2]).translate(None, _SPACE)
        inside ^= len(parts) % 2 == 0
        count += _separators(outside) - len(opened) - outside.count(b"[]") - outside.count(b"{}")
        opened = outside[-1:] if outside[-1:] in (b"[", b"{") and not inside else b""
        start = end
    return count


def _end_of_piece(text: bytes | bytearray, start: int) -> int:
    """Return where a piece ends that splits no escape sequence."""
    end = min(start + _PIECE, len(text))
    piece = text[start:end]
    return end + 1 if (len(piece) - len(piece.rstrip(b"\\"))) % 2 and end < len(text) else end


def _punctuation(text: bytes | bytearray) -> int:
    return sum(_separators(text[start : start + _PIECE]) for start in range(0, len(text), _PIECE))


def _separators(text: bytes | bytearray) -> int:
    return text.count(b",") + text.count(b":") + text.count(b"[") + text.count(b"{")
