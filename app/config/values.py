"""How the values of settings are written, by the unit in a field's name and by its type.

Durations are read as seconds, whatever the field holds: `_ms`, `_s` or a `timedelta`. Lists may be written with commas
or as JSON, tables as JSON. Integers are at least 1, other numbers and durations above 0, unless a bound says otherwise.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, is_dataclass
from datetime import timedelta
from functools import lru_cache
from pathlib import Path
from types import UnionType
from typing import Annotated, Any, Literal, Union, cast, get_args, get_origin

from pydantic import BeforeValidator, Field, SecretStr, TypeAdapter

NEVER = "never"
LONGEST_S = 3660 * 86_400.0
UNITS = ("_ms", "_s", "_bytes")

_AT_LEAST_ONE = Field(ge=1)
_POSITIVE = Field(gt=0, le=LONGEST_S, allow_inf_nan=False)
_LABELS: Mapping[Any, str] = {bool: "yes or no", SecretStr: "secret", Path: "path"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Kind:
    """How a value is written. `read` raises pydantic's ValidationError; `public` is its reverse."""

    label: str
    read: Callable[[Any], Any]
    public: Callable[[Any], Any] = lambda value: value
    entries: type | None = None
    """The dataclass of a table's entries, which are still to be read; None for any other value."""


def kind_of(name: str, hint: Any, bound: Any = None) -> Kind:
    """Return how the values of a field are written; `bound` is a pydantic `Field` instead of the usual constraint."""
    bare, optional = _without_none(hint)
    origin = get_origin(bare)
    if bare is timedelta or name.endswith(("_ms", "_s")):
        return _duration(name, bare, bound or _POSITIVE, optional=optional)
    if name.endswith("_bytes"):
        return Kind(label="bytes", read=_reader(Annotated[int, bound or _AT_LEAST_ONE]))
    if bare is int:
        return Kind(label="integer", read=_reader(Annotated[int, bound or _AT_LEAST_ONE]))
    if bare is float:
        return Kind(label="number", read=_reader(Annotated[float, bound or _POSITIVE]))
    if origin in (tuple, frozenset):
        label = "list of secrets" if SecretStr in get_args(bare) else "list"
        return Kind(label=label, read=_reader(Annotated[bare, BeforeValidator(_listed)]))
    if origin is Mapping or hint is Mapping or (isinstance(origin, type) and issubclass(origin, Mapping)):
        return _table(get_args(bare)[1])
    label = choices(get_args(bare)) if origin is Literal else _LABELS.get(bare, "text")
    return Kind(label=label, read=_reader(hint if bound is None else Annotated[hint, bound]))


def preset(presets: Mapping[str, Any]) -> Kind:
    """Return the kind of a setting that chooses among values by their names."""
    read = _reader(Literal[tuple(presets)])
    return Kind(
        label=choices(presets),
        read=lambda value: presets[read(value)],
        public=lambda value: next((name for name, one in presets.items() if one == value), value),
    )


def decoded(value: object) -> object:
    """Return the JSON value of a text, and every other value as it is. Raises ValueError."""
    if not isinstance(value, str):
        return value
    try:
        return json.loads(value)
    except ValueError as error:
        raise ValueError(f"write it as JSON ({error})") from error


def written(kind: Kind, value: Any) -> str:
    """Return a field's value as people write it; of a table the names alone, since its entries may hold secrets."""
    value = kind.public(value)
    if value is None:
        return NEVER if NEVER in kind.label else "none"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, Mapping | frozenset):
        value = sorted(cast("Iterable[str]", value))
    if isinstance(value, list | tuple):
        return ", ".join(map(str, cast("Iterable[Any]", value))) or "none"
    return f"{value:.15g}" if isinstance(value, float) else str(value)


def choices(names: Iterable[str]) -> str:
    """Return the label of a value that is one of these."""
    return ", ".join(f"`{name}`" for name in names)


def _listed(value: object) -> object:
    if not isinstance(value, str):
        return value
    if value.lstrip().startswith("["):
        return decoded(value)
    return [part.strip() for part in value.split(",") if part.strip()]


def _without_none(hint: Any) -> tuple[Any, bool]:
    """Return a type without annotations and without None, and whether None is allowed."""
    if get_origin(hint) is Annotated:
        return _without_none(get_args(hint)[0])
    if get_origin(hint) in (Union, UnionType):
        (other,) = [one for one in get_args(hint) if one is not type(None)]
        return _without_none(other)[0], True
    return hint, False


@lru_cache(maxsize=128)
def _adapter(hint: Any) -> TypeAdapter[Any]:
    return TypeAdapter(hint)


def _reader(hint: Any) -> Callable[[Any], Any]:
    """Return what reads values of a type; made when first needed, since most settings are never set."""
    return lambda value: _adapter(hint).validate_python(value)


def _table(entry: Any) -> Kind:
    of, entries = (Any, cast("type", entry)) if is_dataclass(entry) else (entry, None)
    read = _reader(Annotated[dict[str, of], BeforeValidator(decoded)])
    return Kind(label="table", read=read, entries=entries)


def _duration(name: str, of: Any, bound: Any, *, optional: bool) -> Kind:
    seconds: Any = Annotated[float, bound]
    if optional:
        seconds = Annotated[seconds | None, BeforeValidator(lambda value: None if value == NEVER else value)]
    read = _reader(seconds)
    into, out = _conversion(name, of)
    return Kind(
        label=f"seconds or `{NEVER}`" if optional else "seconds",
        read=lambda value: None if (found := read(value)) is None else into(found),
        public=lambda value: None if value is None else out(value),
    )


def _conversion(name: str, of: Any) -> tuple[Callable[[float], Any], Callable[[Any], float]]:
    """Return how seconds become what the field holds, and the reverse."""
    if of is timedelta:
        return (lambda seconds: timedelta(seconds=seconds)), timedelta.total_seconds
    if name.endswith("_s"):
        return float, float
    if of is int:
        return (lambda seconds: max(1, round(seconds * 1000))), (lambda ms: ms / 1000)
    return (lambda seconds: seconds * 1000), (lambda ms: ms / 1000)
