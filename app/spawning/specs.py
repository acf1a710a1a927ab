"""Read the fields of a spawner's spec, with errors that say what to correct."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any, cast

from app.domain.errors import DispatchFailed


def only_fields(spec: dict[str, Any], fields: Collection[str]) -> None:
    """Raise DispatchFailed if the spec has fields other than `kind` and these."""
    unknown = sorted(spec.keys() - {"kind", *fields})
    if unknown:
        allowed = ", ".join(fields) or "no fields"
        raise DispatchFailed(f"spawner {spec['kind']!r} has no {', '.join(map(repr, unknown))}; it takes {allowed}")


def text(spec: dict[str, Any], field: str) -> str:
    """Return a required text field. Raises DispatchFailed."""
    value = spec.get(field)
    if not isinstance(value, str) or not value:
        raise DispatchFailed(f"spawner {spec['kind']!r} needs {field!r}, a text")
    return value


def texts(spec: dict[str, Any], field: str) -> tuple[str, ...]:
    """Return an optional field that is a list of texts. Raises DispatchFailed."""
    value: Any = spec.get(field, ())
    items = tuple(cast("list[Any]", value)) if isinstance(value, list | tuple) else (None,)
    if not all(isinstance(item, str) and "\0" not in item for item in items):
        raise DispatchFailed(f"spawner {spec['kind']!r}: {field!r} is a list of texts without NUL characters")
    return cast("tuple[str, ...]", items)


def integer(spec: dict[str, Any], field: str, *, default: int, low: int, high: int) -> int:
    """Return an optional field that is an integer from `low` to `high`. Raises DispatchFailed."""
    value = spec.get(field, default)
    if not isinstance(value, int) or isinstance(value, bool) or not low <= value <= high:
        raise DispatchFailed(f"spawner {spec['kind']!r}: {field!r} is a whole number from {low} to {high}")
    return value
