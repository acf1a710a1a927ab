"""Answer schemas (JSON Schema 2020-12): written by agents, so that checking one neither reaches out nor takes for ever.

References stay inside the schema, and the work is bounded before it is done: a schema whose references multiply, a
large answer to a large schema, or a long text for an expensive expression is refused instead of tried.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, cast
from urllib.parse import unquote

import jsonschema_rs

from app.domain.errors import InvalidRequest
from app.domain.json import Json

MOST_SUBSCHEMAS = 20_000
"""Subschemas with every reference written out."""
MOST_STEPS = 5_000_000
"""Subschemas times values, about a second at the worst."""
_EXPRESSION = 500
_DIVISION = 100
_LONGEST_COMPLAINT = 500
_ENGINES: Sequence[tuple[Any, int]] = (
    (jsonschema_rs.RegexOptions(size_limit=16 * 1024), 300_000),
    (jsonschema_rs.RegexOptions(size_limit=256 * 1024), 25_000),
    (jsonschema_rs.RegexOptions(size_limit=4 * 1024 * 1024), 5_000),
    (jsonschema_rs.FancyRegexOptions(backtrack_limit=2_000, size_limit=32 * 1024), 1_000),
)
"""What runs expressions, and how many characters each may look at, times the expressions: about a second at the worst.

The first that takes all expressions of a schema is used. All but the last take time that grows with the text and with
what the expression comes to; the last knows look-around and references back, and looks at the text again and again.
"""
# Keywords whose value is no schema, is a map of schemas, applies to a part of the value, or names a place.
_DATA = frozenset({"enum", "const", "default", "examples", "$defs", "definitions"})
_MAPS = frozenset({"properties", "patternProperties", "dependentSchemas"})
_DEEPER = frozenset(
    {
        *("properties", "patternProperties", "additionalProperties", "unevaluatedProperties", "propertyNames"),
        *("items", "prefixItems", "contains", "unevaluatedItems"),
    }
)
_COMPARED = ("enum", "const", "required", "dependentRequired")
_NAMES = frozenset({"$anchor", "$dynamicAnchor", "$dynamicRef", "$recursiveAnchor", "$recursiveRef"})


class _Unusable(Exception):
    """Why a schema cannot be applied."""


def check_schema(schema: Any) -> None:
    """Raise InvalidRequest unless it is a schema that answers can be held to."""
    if not isinstance(schema, dict):
        raise InvalidRequest("an answer schema is a JSON Schema object", "answer_schema")
    try:
        size = _Size(cast("dict[str, Any]", schema)).total()
        if size <= MOST_SUBSCHEMAS:
            _validator(schema)
    except (_Unusable, RecursionError) as error:
        raise InvalidRequest(f"not a usable JSON Schema: {error}", "answer_schema") from error
    if size > MOST_SUBSCHEMAS:
        raise InvalidRequest(f"the schema comes to more than {MOST_SUBSCHEMAS} subschemas", "answer_schema")


def complaint(schema: Json, answer: Any) -> tuple[str, str] | None:
    """What is wrong with the answer and where (`$.a[0]`), None when it fits."""
    read = schema.value
    try:
        size = _Size(read).total()
        values, characters = _extent(answer)
        if size * values > MOST_STEPS:
            return "answer and schema together are too large to be checked", ""
        validator, most = _validator(read)
        if '"pattern' in schema.text and max(1, size // _EXPRESSION) * characters > most:
            return f"its texts are too long for the schema's expressions, which look at {most} characters in all", ""
        # Iterating over the errors would make all of them, each with a copy of what it is about.
        validator.validate(answer)
    except jsonschema_rs.ValidationError as error:
        return error.message[:_LONGEST_COMPLAINT], _path(error.instance_path)
    except (_Unusable, RecursionError) as unusable:
        return f"the schema itself cannot be applied: {unusable}", ""
    return None


def _validator(schema: Any) -> tuple[Any, int]:
    """What checks answers, and how many characters it may look at. Raises _Unusable."""
    trouble = ""
    for options, most in _ENGINES:
        try:
            return jsonschema_rs.Draft202012Validator(schema, retriever=_refuse, pattern_options=options), most
        except (ValueError, jsonschema_rs.ReferencingError) as error:
            trouble = str(error).partition("\n")[0][:300]
    raise _Unusable(trouble)


def _refuse(uri: str) -> Any:
    raise ValueError(f"{uri} is another document")


def _path(parts: list[str | int]) -> str:
    return "$" + "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in parts)


def _extent(answer: Any) -> tuple[int, int]:
    """How many values an answer holds, itself included, and how many characters in texts and names."""
    count, characters, left = 0, 0, [answer]
    while left:
        value = left.pop()
        count += 1
        if isinstance(value, str):
            characters += len(value)
        elif isinstance(value, dict):
            members = cast("dict[str, Any]", value)
            characters += sum(map(len, members))
            left.extend(members.values())
        elif isinstance(value, list):
            left.extend(cast("list[Any]", value))
    return count, characters


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
    """What one subschema costs by itself: more with every expression, division, and value that it compares with."""
    named = schema.get("patternProperties")
    expressions = ("pattern" in schema) + (len(cast("dict[str, Any]", named)) if isinstance(named, dict) else 0)
    compared = sum(_extent(schema[name])[0] for name in _COMPARED if name in schema)
    return max(1, expressions * _EXPRESSION) + compared + ("multipleOf" in schema) * _DIVISION
