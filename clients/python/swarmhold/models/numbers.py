"""JSON texts whose numbers keep the digits they were written with."""

from __future__ import annotations

import json
from decimal import Decimal
from typing import Any, cast

__all__ = ["ExactFloat", "decode", "written"]


class ExactFloat(float):
    """A number of a JSON document that a float would not write back as it came, such as 1.10 or 1e400.

    It computes as the nearest float, which is an infinity beyond their range, and is sent as `text`. `int(number)` is
    the exact integer part, `Decimal(number.text)` the exact value.
    """

    __slots__ = ("text",)
    text: str

    def __new__(cls, text: str) -> ExactFloat:
        """`text` must be a number as JSON writes it."""
        number = super().__new__(cls, text)
        number.text = text
        return number

    def __getnewargs__(self) -> tuple[str]:  # pyright: ignore[reportIncompatibleMethodOverride] - a copy is made of the text
        return (self.text,)

    def __int__(self) -> int:
        return int(Decimal(self.text))

    def __repr__(self) -> str:
        return self.text

    __str__ = __repr__

    @classmethod
    def read(cls, text: str) -> float:
        """Return a plain float where it has the text of the number, else an `ExactFloat`."""
        plain = float(text)
        return plain if repr(plain) == text else cls(text)


def written(shown: Any, held: Any) -> Any:
    """Return `shown`, a value converted for JSON, with the exact floats of `held`, the value before."""
    if isinstance(held, ExactFloat):
        return held
    if isinstance(held, dict) and isinstance(shown, dict):
        before = cast("dict[str, Any]", held)
        return {name: written(value, before.get(name)) for name, value in cast("dict[str, Any]", shown).items()}
    if isinstance(held, list | tuple) and isinstance(shown, list):
        pairs = zip(cast("list[Any]", shown), cast("list[Any]", held), strict=True)
        return [written(value, item) for value, item in pairs]
    return shown


def decode(content: str | bytes) -> Any:
    """Return the value of a JSON text. Integers are exact; floats that would change are `ExactFloat`.

    Raises ValueError for invalid JSON.
    """
    try:
        return json.loads(content, parse_float=ExactFloat.read, parse_int=_integer, parse_constant=_refuse)
    except RecursionError as error:
        raise ValueError("nested too deeply") from error


def _integer(text: str) -> float:
    return int(text) if text != "-0" else ExactFloat(text)


def _refuse(name: str) -> Any:
    raise ValueError(f"{name} is no JSON")
