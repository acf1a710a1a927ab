"""JSON bodies: the bytes to send. Numbers keep their digits."""

from __future__ import annotations

import json
import re
from dataclasses import fields, is_dataclass
from datetime import date, time
from decimal import Decimal
from enum import Enum
from typing import Any, cast
from uuid import UUID

from swarmhold.errors import InvalidArgument
from swarmhold.models.numbers import ExactFloat
from swarmhold.models.shapes import JsonValue, WireModel

_MAY_BE_EXACT = re.compile(r"\d[.eE]|-0|Infinity")


def encode(value: JsonValue) -> bytes:
    """Return a model or a JSON value as JSON. Dates, UUIDs, enumerations, dataclasses and Decimals are converted.

    Raises:
        InvalidArgument: JSON has no such value: another class, NaN, an infinity, a lone surrogate, a cycle.
    """
    try:
        plain = value.as_json() if isinstance(value, WireModel) else value
        text = _dumps(plain, allow_nan=True)
        if _MAY_BE_EXACT.search(text) or "NaN" in text:
            text = _written(plain)
        return text.encode()
    except (TypeError, ValueError, RecursionError) as error:
        raise InvalidArgument(f"give a value that JSON has: {error}") from error


def _dumps(value: JsonValue, *, allow_nan: bool = False) -> str:
    return json.dumps(value, ensure_ascii=False, allow_nan=allow_nan, separators=(",", ":"), default=_converted)


def _written(value: JsonValue) -> str:
    """Return the JSON of a value, with exact numbers as they were written."""
    if isinstance(value, ExactFloat):
        return value.text
    if isinstance(value, dict):
        members = cast("dict[str, Any]", value).items()
        return f"{{{','.join(f'{_name(name)}:{_written(item)}' for name, item in members)}}}"
    if isinstance(value, list | tuple):
        items = cast("list[Any]", value)
        return f"[{','.join(map(_written, items))}]"
    if isinstance(value, str | int | float | None):
        return _dumps(value)
    return _written(_converted(value))


def _name(name: object) -> str:
    """Return a member's name and convert it as `json` does."""
    return _dumps({name: 0})[1:-3]


def _converted(value: object) -> JsonValue:
    if isinstance(value, Decimal) and value.is_finite():
        return ExactFloat(str(value))
    if isinstance(value, date | time):
        return value.isoformat()
    if isinstance(value, UUID):
        return str(value)
    if isinstance(value, Enum):
        return value.value
    if is_dataclass(value) and not isinstance(value, type):
        return {field.name: getattr(value, field.name) for field in fields(value)}
    raise TypeError(f"{type(value).__name__} is not JSON serializable")
