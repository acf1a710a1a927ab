"""Choices of a question: plain values, or values beside which stand the asker's words."""

from __future__ import annotations

from typing import Any, cast

from app.domain.errors import InvalidRequest
from app.domain.json import Json

_LONGEST = {"label": 200, "description": 1_000}
_WORDS = frozenset({"label", "description", "danger"})


def read_choices(given: list[Any]) -> tuple[Json, Json | None]:
    """Return the values that may be answered, and the asker's words by position (null for a plain value), if any.

    An object with `value` and `label`, and besides them `description` and `danger` alone, is a value with words; every
    other choice is the value itself. Raises InvalidRequest for words of the wrong type or length.
    """
    words = [_words_of(choice) for choice in given]
    if not any(words):
        return Json.of(given), None
    values = [choice["value"] if said else choice for choice, said in zip(given, words, strict=True)]
    return Json.of(values), Json.of(words)


def shown_choices(values: Json, words: Json | None) -> Any:
    """Return the choices as they were given, for a reply."""
    if words is None:
        return values.fragment
    pairs = zip(values.written, words.value, strict=True)
    return [value if said is None else {"value": value, **said} for value, said in pairs]


def _words_of(choice: Any) -> dict[str, Any] | None:
    if not isinstance(choice, dict) or not {"value", "label"} <= choice.keys() <= _WORDS | {"value"}:
        return None
    words = {name: said for name, said in cast("dict[str, Any]", choice).items() if name != "value"}
    for name, most in _LONGEST.items():
        said = words.get(name, "-")
        if not isinstance(said, str) or not 0 < len(said) <= most:
            raise InvalidRequest(f"give the {name} of a choice as a text of 1 to {most} characters", "choices")
    if not isinstance(words.get("danger", False), bool):
        raise InvalidRequest("give danger of a choice as true or false", "choices")
    return words
