"""Parsing typed lines as answers: the number of a choice, a value of the question's schema, text or JSON. No I/O."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

from app.cli.output import asker, inert, shown
from app.domain.json import same_json
from swarmhold.models.numbers import decode

if TYPE_CHECKING:
    from swarmhold.models.questions import Choice

_YES = frozenset({"y", "yes", "true", "1"})
_ANYTHING: Mapping[str, Any] = {}
_LISTED = frozenset({"const", "title", "description", "type", "deprecated", "$comment"})
_NO = frozenset({"n", "no", "false", "0"})


class InvalidAnswer(Exception):
    """The typed line is not a valid answer; the message says what is expected."""


@dataclass(frozen=True, slots=True)
class Option:
    """One listed value, and what the asker says about it; `danger` when the asker calls it dangerous."""

    value: Any
    about: str = ""
    danger: bool = False

    def __str__(self) -> str:
        return f"{shown(self.value)} {self.about}".rstrip()

    @classmethod
    def of(cls, schema: Any) -> Option | None:
        """Return the option of a schema that is one constant with words about it; None for any other."""
        listed = cast("Mapping[str, Any]", schema) if isinstance(schema, dict) else _ANYTHING
        if "const" not in listed or not listed.keys() <= _LISTED:
            return None
        about = [asker(listed.get(name)) for name in ("title", "description")]
        return cls(listed["const"], " ".join(part for part in about if part))

    @classmethod
    def of_choice(cls, choice: Choice) -> Option:
        """Return the option of a question's choice."""
        about = [asker(words) for words in (choice.label, choice.description)]
        if choice.danger:
            about.append("(the asker calls this dangerous)")
        return cls(choice.value, " ".join(part for part in about if part), choice.danger)


@dataclass(frozen=True, slots=True, kw_only=True)
class Field:
    """One value to type. `name` is None when it is the whole answer."""

    name: str | None
    schema: Mapping[str, Any]
    required: bool = True
    choices: Sequence[Choice] | None = None

    @property
    def hint(self) -> str:
        """A short description of the accepted input."""
        if self.options is not None:
            return f"a number from 1 to {len(self.options)}" if len(self.options) > 1 else "1"
        return {
            "boolean": "y or n",
            "integer": "a whole number",
            "number": "a number",
            "string": "text",
            "array": "JSON, e.g. [1, 2]",
            "object": 'JSON, e.g. {"a": 1}',
            "null": "null",
        }.get(self._kind, "text, or JSON after =")

    @property
    def title(self) -> str:
        """The name that is sent, and beside it what the asker calls it."""
        about = (asker(self.schema.get("title")), asker(self.schema.get("description")))
        return " ".join(part for part in (inert(self.name or "answer", lines=False), *about) if part)

    @property
    def options(self) -> list[Option] | None:
        """The values that may be chosen; None when none are listed."""
        if self.choices is not None:
            return [Option.of_choice(choice) for choice in self.choices]
        if "const" in self.schema:
            return [Option(self.schema["const"])]
        if isinstance(listed := self.schema.get("enum"), list):
            return [Option(value) for value in cast("list[Any]", listed)]
        listed = self.schema.get("oneOf", self.schema.get("anyOf"))
        if not isinstance(listed, list) or not listed:
            return None
        found = [Option.of(one) for one in cast("list[Any]", listed)]
        return [option for option in found if option] if all(found) else None

    @property
    def _kind(self) -> str:
        kind = self.schema.get("type")
        return kind if isinstance(kind, str) else ""

    def read(self, line: str) -> Any:
        """Parse a line as this field's value. Raises InvalidAnswer."""
        text = line.strip()
        if self.options is not None:
            return chosen(text, [option.value for option in self.options])
        match self._kind:
            case "boolean":
                return _truth(text)
            case "integer" | "number":
                return _number(text, whole=self._kind == "integer")
            case "string":
                return line
            case "array" | "object" | "null":
                return decoded(text)
            case _:
                return free(line)


def fields_of(choices: Sequence[Any] | None, schema: Mapping[str, Any] | None) -> list[Field]:
    """Return the fields of an answer: one for each property of an object, else a single one."""
    if choices is not None:
        from swarmhold.models.questions import choices_of

        return [Field(name=None, schema={}, choices=choices_of(choices))]
    if schema is None:
        return [Field(name=None, schema={})]
    properties = schema.get("properties")
    if schema.get("type") == "object" and isinstance(properties, dict) and properties:
        required = cast("Sequence[str]", schema.get("required", ()))
        return list(_properties(cast("Mapping[str, Any]", properties), required))
    return [Field(name=None, schema=schema)]


def _properties(properties: Mapping[str, Any], required: Sequence[str]) -> Iterator[Field]:
    for name, schema in properties.items():
        known: Mapping[str, Any] = cast("Mapping[str, Any]", schema) if isinstance(schema, dict) else _ANYTHING
        yield Field(name=name, schema=known, required=name in required)


def assemble(fields: Sequence[Field], values: Sequence[Any]) -> Any:
    """Build the answer from its fields' values, each a 1-tuple, or an empty one for a property left out."""
    if len(fields) == 1 and fields[0].name is None:
        return values[0][0]
    return {str(field.name): value[0] for field, value in zip(fields, values, strict=True) if value}


def is_dangerous(fields: Sequence[Field], value: Any) -> bool:
    """Return whether the asker marked the answer as dangerous."""
    options = fields[0].options if len(fields) == 1 else None
    return any(option.danger and same_json(option.value, value) for option in options or ())


def left_out(fields: Sequence[Field], value: Any) -> list[str]:
    """Return the names of the fields that the answer does not have."""
    given = cast("Mapping[str, Any]", value) if isinstance(value, dict) else _ANYTHING
    return [field.name for field in fields if field.name is not None and field.name not in given]


def chosen(text: str, options: Sequence[Any]) -> Any:
    """Return the option with this number, counted from 1, or this text. Raises InvalidAnswer."""
    if text.isascii() and text.isdigit() and 1 <= int(text) <= len(options):
        return options[int(text) - 1]
    for option in options:
        if text and (option == text or (not isinstance(option, str) and _same_json(option, text))):
            return option
    raise InvalidAnswer(f"type a number from 1 to {len(options)}")


def _same_json(option: Any, text: str) -> bool:
    try:
        return same_json(decode(text), option)
    except ValueError:
        return False


def _truth(text: str) -> bool:
    word = text.lower()
    if word in _YES:
        return True
    if word in _NO:
        return False
    raise InvalidAnswer("type y or n")


def _number(text: str, *, whole: bool) -> int | float:
    try:
        return int(text) if whole else _float(text)
    except ValueError:
        raise InvalidAnswer("type a whole number" if whole else "type a number") from None


def _float(text: str) -> float:
    try:
        return decode(text)
    except ValueError:  # such as .5 and 5., which JSON has not
        return float(text)


def decoded(text: str) -> Any:
    """Parse JSON. Raises InvalidAnswer."""
    try:
        return decode(text)
    except ValueError as error:
        raise InvalidAnswer(f"this is not valid JSON: {error}") from None


def free(line: str) -> Any:
    """Return a line as text, or as JSON if it begins with an equals sign. Raises InvalidAnswer."""
    text = line.strip()
    if text.startswith("="):
        return decoded(text[1:])
    if not text:
        raise InvalidAnswer("type an answer")
    return line
