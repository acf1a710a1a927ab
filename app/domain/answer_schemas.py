"""Answer schemas (JSON Schema 2020-12): written by agents, so that checking one neither reaches out nor takes for ever.

Expressions may backtrack only so far, references stay inside the schema, and the work is bounded before it is done: a
schema whose references multiply, or a large answer to a large schema, is refused instead of tried.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, cast
from urllib.parse import unquote

import jsonschema_rs

from app.domain.errors import InvalidRequest
from app.domain.json import Json

MOST_SUBSCHEMAS = 20_000
"""Subschemas with every reference written out."""
MOST_STEPS = 5_000_000
"""Subschemas times values, about a second at the worst."""
MOST_BACKTRACKS = 20_000
_EXPRESSION = 500
# Keywords whose value is no schema, is a map of schemas, applies to a part of the value, or names a place.
_DATA = frozenset({"enum", "const", "default", "examples", "$defs", "definitions"})
_MAPS = frozenset({"properties", "patternProperties", "dependentSchemas"})
_DEEPER = frozenset(
    {
        *("properties", "patternProperties", "additionalProperties", "unevaluatedProperties", "propertyNames"),
        *("items", "prefixItems", "contains", "unevaluatedItems"),
    }
)
_NAMES = frozenset({"$anchor", "$dynamicAnchor", "$dynamicRef", "$recursiveAnchor", "$recursiveRef"})


class _Unusable(Exception):
    """Why a schema cannot be applied."""


def check_schema(schema: Any) -> None:
    """Raise InvalidRequest unless it is a schema that answers can be held to."""
    if not isinstance(schema, dict):
        raise InvalidRequest("an answer schema is a JSON Schema object", "answer_schema")
    try:
        size = _Size(cast("dict[str, Any]", schema)).total()
        _validator(schema)
    except (_Unusable, RecursionError) as error:
        raise InvalidRequest(f"not a usable JSON Schema: {error}", "answer_schema") from error
    if size > MOST_SUBSCHEMAS:
        raise InvalidRequest(f"the schema comes to more than {MOST_SUBSCHEMAS} subschemas", "answer_schema")


def complaint(schema: Json, answer: Any) -> tuple[str, str] | None:
    """What is wrong with the answer and where (`$.a[0]`), None when it fits."""
    read = schema.value
    try:
        steps = _Size(read).total() * _values(answer)
        if steps > MOST_STEPS:
            return "answer and schema together are too large to be checked", ""
        error = next(_validator(read).iter_errors(answer), None)
    except (_Unusable, RecursionError) as unusable:
        return f"the schema itself cannot be applied: {unusable}", ""
    return None if error is None else (error.message, _path(error.instance_path))


def _validator(schema: Any) -> Any:
    try:
        return jsonschema_rs.Draft202012Validator(
            schema,
            retriever=_refuse,
            pattern_options=jsonschema_rs.FancyRegexOptions(backtrack_limit=MOST_BACKTRACKS),
        )
    except (ValueError, jsonschema_rs.ReferencingError) as error:
        raise _Unusable(str(error).partition("\n")[0][:300]) from error


def _refuse(uri: str) -> Any:
    raise ValueError(f"{uri} is another document")


def _path(parts: list[str | int]) -> str:
    return "$" + "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in parts)


def _values(answer: Any) -> int:
    """How many values an answer holds, itself included."""
    count, left = 0, [answer]
    while left:
        value = left.pop()
        count += 1
        if isinstance(value, dict):
            left.extend(cast("dict[str, Any]", value).values())
        elif isinstance(value, list):
            left.extend(cast("list[Any]", value))
    return count


class _Size:
    """How many subschemas there are with every reference written out; one that contains itself counts there as one.

    A schema that comes back to itself in more than one place is refused: applying it may double with every level. So is
    one that comes back without going deeper into the value, and one that names places in other ways than by path.
    """

    def __init__(self, schema: dict[str, Any]) -> None:
        self._root = schema
        self._known: dict[int, tuple[int, int]] = {}
        self._open: dict[int, int] = {}
        self._depth = 0

    def total(self) -> int:
        """The count. Raises _Unusable."""
        size, returns = self._of(self._root)
        if returns > 1:
            raise _Unusable("it refers to itself in more than one place")
        return size

    def _of(self, node: Any) -> tuple[int, int]:
        """Subschemas below, and how many of them lead back to one that is being counted."""
        if isinstance(node, list):
            return _sum(self._of(one) for one in cast("list[Any]", node))
        if not isinstance(node, dict):
            return 0, 0
        schema = cast("dict[str, Any]", node)
        mark = id(schema)
        if mark in self._open:
            if self._open[mark] == self._depth:
                raise _Unusable("it contains itself")
            return 1, 1
        if mark not in self._known:
            self._open[mark] = self._depth
            size, returns = _sum(self._under(name, value) for name, value in schema.items() if name not in _DATA)
            del self._open[mark]
            self._known[mark] = (min(size + _own(schema), 2 * MOST_STEPS), min(returns, 2))
        return self._known[mark]

    def _under(self, name: str, value: Any) -> tuple[int, int]:
        if name in _NAMES or (name == "$id" and len(self._open) > 1):
            raise _Unusable(f"{name} is not taken; refer to parts of the schema by their path")
        if name == "$ref":
            return self._of(self._target(str(value)))
        self._depth += name in _DEEPER
        inner = list(cast("dict[str, Any]", value).values()) if name in _MAPS and isinstance(value, dict) else value
        found = self._of(inner)
        self._depth -= name in _DEEPER
        return found

    def _target(self, reference: str) -> Any:
        """What a reference points at. Raises _Unusable for what is not in the schema."""
        found: Any = self._root
        if not reference.startswith("#"):
            raise _Unusable(f"{reference[:200]} is another document")
        for part in unquote(reference[1:]).split("/")[1:]:
            name = part.replace("~1", "/").replace("~0", "~")
            if isinstance(found, dict):
                found = cast("dict[str, Any]", found).get(name)
            elif isinstance(found, list) and name.isdigit():
                found = dict(enumerate(cast("list[Any]", found))).get(int(name))
            else:
                found = None
        if not isinstance(found, dict | bool) or (reference != "#" and not reference.startswith("#/")):
            raise _Unusable(f"{reference[:200]} points at nothing")
        return cast(Any, found)


def _sum(found: Iterable[tuple[int, int]]) -> tuple[int, int]:
    sizes, returns = 0, 0
    for size, back in found:
        sizes, returns = sizes + size, returns + back
    return sizes, returns


def _own(schema: dict[str, Any]) -> int:
    return _EXPRESSION if "pattern" in schema or "patternProperties" in schema else 1
