"""JSON bodies: what is sent as bytes."""

from __future__ import annotations

import json
from dataclasses import fields, is_dataclass
from datetime import date, time
from enum import Enum
from uuid import UUID

from swarmhold.errors import InvalidArgument
from swarmhold.models.shapes import JsonValue, WireModel


def encode(value: JsonValue) -> bytes:
    """Return a model or a JSON value as JSON. Dates, UUIDs, enumerations and dataclasses inside it are converted.

    Raises:
        InvalidArgument: JSON has no such value: another class, NaN, an infinity, a lone surrogate, a cycle.
    """
    try:
        plain = value.model_dump(mode="json") if isinstance(value, WireModel) else value
        text = json.dumps(plain, ensure_ascii=False, allow_nan=False, separators=(",", ":"), default=_converted)
        return text.encode()
    except (TypeError, ValueError, RecursionError) as error:
        raise InvalidArgument(f"give a value that JSON has: {error}") from error


def _converted(value: object) -> JsonValue:
    if isinstance(value, date | time):
        return value.isoformat()
    if isinstance(value, UUID):
        return str(value)
    if isinstance(value, Enum):
        return value.value
    if is_dataclass(value) and not isinstance(value, type):
        return {field.name: getattr(value, field.name) for field in fields(value)}
    raise TypeError(f"{type(value).__name__} is not JSON serializable")
