"""Answer schemas (JSON Schema 2020-12). Agents write them, so validation must neither do I/O nor run unbounded.

References must stay inside the schema, and the cost is estimated before any validation runs: a schema whose references
grow exponentially, a large answer to a large schema, or a long text for an expensive regular expression is rejected.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import cache
from typing import Any, cast
from urllib.parse import unquote

from app.domain.errors import InvalidRequest
from app.domain.json import Json
from app.domain.numbers import NumbersTooLong

MAX_SUBSCHEMAS = 20_000
"""Subschemas after every reference is expanded."""
MAX_STEPS = 250_000
"""Subschemas times values: the validator holds the interpreter, so that others wait for as long as it takes."""
_PATTERN_COST = 500
_DIVISION_COST = 100
_MAX_REASON_CHARACTERS = 500
# Keywords whose value is data, is a map of schemas, applies to a part of the instance, or names a location.
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
    """The schema cannot be used; the message says why."""


@cache
def _engines() -> Sequence[tuple[Any, int]]:
    """Return regular expression engines, and how many characters (times patterns) each may process in 100 ms at most.

    The first engine that compiles all patterns of a schema is used. All but the last run in time linear in the text and
    the compiled pattern; the last supports look-around and back-references by backtracking.
    """
    # The library takes long to load, and commands that read no schema import this module.
    from jsonschema_rs import FancyRegexOptions, RegexOptions

    return (
        (RegexOptions(size_limit=2 * 1024), 300_000),
        (RegexOptions(size_limit=16 * 1024), 20_000),
        (RegexOptions(size_limit=256 * 1024), 1_000),
        (RegexOptions(size_limit=4 * 1024 * 1024), 100),
        (FancyRegexOptions(backtrack_limit=2_000, size_limit=32 * 1024), 1_000),
    )


def check_schema(given: Json) -> None:
    """Raise InvalidRequest unless it is a valid schema of bounded cost."""
    try:
        schema = given.plain
        if not isinstance(schema, dict):
            raise InvalidRequest("an answer schema must be a JSON object that is a JSON Schema", "answer_schema")
        size = _Size(cast("dict[str, Any]", schema)).total()
        if size <= MAX_SUBSCHEMAS:
            _validator(schema)
    except (_Unusable, NumbersTooLong, RecursionError) as error:
        raise InvalidRequest(f"not a usable JSON Schema: {error}", "answer_schema") from error
    if size > MAX_SUBSCHEMAS:
        raise InvalidRequest(
            f"the schema expands to more than {MAX_SUBSCHEMAS} subschemas; make it smaller", "answer_schema"
        )


def first_violation(schema: Json, given: Json) -> tuple[str, str] | None:
    """Return why the answer is invalid and the path to the cause (`$.a[0]`), or None when it is valid."""
    from jsonschema_rs import ValidationError

    try:
        decoded, answer = schema.plain, given.plain
        size = _Size(decoded).total()
        values, characters = _extent(answer)
        if size * values > MAX_STEPS:
            return "answer and schema together are too large to validate", ""
        validator, max_characters = _validator(decoded)
        if '"pattern' in schema.text and max(1, size // _PATTERN_COST) * characters > max_characters:
            return f"its texts exceed the {max_characters} characters that the schema's patterns may process", ""
        # Iterating over the errors would build all of them, each with a copy of the offending value.
        validator.validate(answer)
    except ValidationError as error:
        return error.message[:_MAX_REASON_CHARACTERS], _path(error.instance_path)
    except NumbersTooLong as error:
        return f"its numbers cannot be validated: {error}", ""
    except (_Unusable, RecursionError) as unusable:
        return f"the schema itself cannot be used: {unusable}", ""
    return None


def _validator(schema: Any) -> tuple[Any, int]:
    """Return a validator and how many characters its patterns may process. Raises _Unusable."""
    from jsonschema_rs import Draft202012Validator, ReferencingError

    reason = ""
    for options, max_characters in _engines():
        try:
            return Draft202012Validator(schema, retriever=_refuse, pattern_options=options), max_characters
        except (ValueError, ReferencingError) as error:
            reason = str(error).partition("\n")[0][:300]
    raise _Unusable(reason)


def _refuse(uri: str) -> Any:
    raise ValueError(f"{uri} is another document")


def _path(parts: list[str | int]) -> str:
    return "$" + "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in parts)


def _extent(answer: Any) -> tuple[int, int]:
    """Return how many values an answer contains, itself included, and how many characters in strings and keys."""
    count, characters, pending = 0, 0, [answer]
    while pending:
        value = pending.pop()
        count += 1
        if isinstance(value, str):
            characters += len(value)
        elif isinstance(value, dict):
            members = cast("dict[str, Any]", value)
            characters += sum(map(len, members))
            pending.extend(members.values())
        elif isinstance(value, list):
            pending.extend(cast("list[Any]", value))
    return count, characters


class _Size:
    """Counts the subschemas of a schema with every reference expanded; a recursive reference counts as one.

    Rejected are: a schema that recurses in more than one location, whose cost may double with every level; one that
    recurses without descending into the instance; and references other than JSON Pointers.
    """

    def __init__(self, schema: dict[str, Any]) -> None:
        self._root = schema
        self._counted: dict[int, tuple[int, int]] = {}
        self._open: dict[int, int] = {}
        self._depth = 0

    def total(self) -> int:
        """Return the count. Raises _Unusable."""
        size, recursions = self._of(self._root)
        if recursions > 1:
            raise _Unusable("it refers to itself in more than one location")
        return size

    def _of(self, node: Any) -> tuple[int, int]:
        """Return the number of subschemas in a node, and how many of them recurse into one that is being counted."""
        if isinstance(node, list):
            return _sum(self._of(one) for one in cast("list[Any]", node))
        if not isinstance(node, dict):
            return 0, 0
        schema = cast("dict[str, Any]", node)
        identity = id(schema)
        if identity in self._open:
            if self._open[identity] == self._depth:
                raise _Unusable("it contains itself")
            return 1, 1
        if identity not in self._counted:
            self._open[identity] = self._depth
            size, recursions = _sum(self._keyword(name, value) for name, value in schema.items() if name not in _DATA)
            del self._open[identity]
            self._counted[identity] = (min(size + _own_cost(schema), 2 * MAX_STEPS), min(recursions, 2))
        return self._counted[identity]

    def _keyword(self, name: str, value: Any) -> tuple[int, int]:
        if name in _NAMES or (name == "$id" and len(self._open) > 1):
            raise _Unusable(f"{name} is not supported; refer to parts of the schema by their path, as in #/$defs/name")
        if name == "$ref":
            return self._of(self._target(str(value)))
        self._depth += name in _DEEPER
        inner = list(cast("dict[str, Any]", value).values()) if name in _MAPS and isinstance(value, dict) else value
        found = self._of(inner)
        self._depth -= name in _DEEPER
        return found

    def _target(self, reference: str) -> Any:
        """Return the subschema that a reference points at. Raises _Unusable if it is not in the schema."""
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
    sizes, recursions = 0, 0
    for size, recursive in found:
        sizes, recursions = sizes + size, recursions + recursive
    return sizes, recursions


def _own_cost(schema: dict[str, Any]) -> int:
    """Return the cost of one subschema by itself, which grows with its patterns, divisions and compared values."""
    named = schema.get("patternProperties")
    patterns = ("pattern" in schema) + (len(cast("dict[str, Any]", named)) if isinstance(named, dict) else 0)
    compared = sum(_extent(schema[name])[0] for name in _COMPARED if name in schema)
    return max(1, patterns * _PATTERN_COST) + compared + ("multipleOf" in schema) * _DIVISION_COST
