"""Numbers of JSON documents: kept as they were written, compared by their exact value.

A float holds about 17 digits and writes them in a spelling of its own, so that 1.10, 1e5 and 0.1234567890123456789
would not come back as they came. Where that happens, an `ExactFloat` takes the float's place.
"""

from __future__ import annotations

import sys
from decimal import Decimal
from typing import NamedTuple

MOST_DIGITS = 4096
"""Most digits of one number with its exponent written out, where no setting says otherwise."""
_INTEGER_DIGITS = 320
"""Longer integers may stay text: converting them to `int` and back takes time that is quadratic in the digits."""
_LARGE = 10**15
"""Smaller integers are exact floats."""
_MOST_LARGE_DIGITS = 500_000
_FLOAT_DIGITS = 15
"""Decimal numbers of up to so many significant digits differ as floats, too."""
_FLOAT_EXPONENTS = range(-290, 290)
_PLAIN_DIGITS = 18
_PLAIN = 10**_PLAIN_DIGITS
"""Smaller integers are their own canonical form."""


class ExactFloat(float):
    """A number that keeps the text it was written as.

    It computes as the nearest float, which is an infinity beyond their range. `int(number)` is the exact integer part,
    `Decimal(number.text)` the exact value.
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


def written_text(value: object) -> str | None:
    """Return the text that a number was written as; None for other values. Other classes may carry one as well."""
    text = getattr(value, "text", None) if isinstance(value, float) else None
    return text if isinstance(text, str) else None


class _Parts(NamedTuple):
    """A number as an integer without zeros at its ends, times a power of ten."""

    sign: str
    digits: str
    exponent: int

    @classmethod
    def of(cls, text: str) -> _Parts:
        sign, whole, fraction, shift = _split(text)
        digits = (whole + fraction).lstrip("0")
        significant = digits.rstrip("0")
        return cls(sign, significant, shift - len(fraction) + len(digits) - len(significant))


def _split(text: str) -> tuple[str, str, str, int]:
    """Return sign, digits before and after the point, and the exponent, which is cut where it is absurdly large."""
    mantissa, _, exponent = text.lower().partition("e")
    whole, _, fraction = mantissa.removeprefix("-").partition(".")
    shift = exponent.lstrip("+-").lstrip("0")[:10] or "0"
    return "-" if mantissa[0] == "-" else "", whole, fraction, -int(shift) if exponent[:1] == "-" else int(shift)


def count_digits(text: str) -> int:
    """Return how many digits a number has with its exponent written out."""
    _, whole, fraction, shift = _split(text)
    return max(1, len(whole) + shift) + max(0, len(fraction) - shift)


class NumbersTooLong(ValueError):
    """Large numbers have too many digits together to be converted."""


class ExactNumbers:
    """Reads numbers so that they keep their text. Raises PayloadTooLarge for one of more than `most` digits."""

    def __init__(self, *, most: int, integers: int = _INTEGER_DIGITS) -> None:
        self._most = most
        self._integers = integers

    def real(self, text: str) -> float:
        """Return a number that has a fraction or an exponent."""
        if ("e" in text or "E" in text or len(text) > self._most) and count_digits(text) > self._most:
            from app.domain.errors import PayloadTooLarge  # commands print JSON without this tree

            raise PayloadTooLarge("digits", self._most)
        return ExactFloat(text)

    def integer(self, text: str) -> float:
        """Return an integer; one of more than `integers` characters, and minus zero, as an `ExactFloat`."""
        if len(text) <= self._integers and text != "-0":
            return int(text)
        return self.real(text)


class PlainNumbers:
    """Reads numbers as a schema sees them: integral values exactly, however they are written; others as floats.

    Raises NumbersTooLong when large numbers have too many digits together.
    """

    def __init__(self) -> None:
        self._left = _MOST_LARGE_DIGITS

    def real(self, text: str) -> float:
        """Return a number that has a fraction or an exponent: an `int` when it is integral, else a finite float."""
        near = float(text)
        if abs(near) < _LARGE:
            return near
        self._count(text)
        if _Parts.of(text).exponent >= 0:
            return int(Decimal(text))
        return max(-sys.float_info.max, min(sys.float_info.max, near))

    def integer(self, text: str) -> int:
        """Return an integer."""
        if len(text) <= _INTEGER_DIGITS:
            return int(text)
        self._count(text)
        return int(Decimal(text))

    def _count(self, text: str) -> None:
        self._left -= count_digits(text)
        if self._left < 0:
            raise NumbersTooLong(f"the large ones have more than {_MOST_LARGE_DIGITS} digits together")


def canonical_number(number: float) -> float | str:
    """Return the form that all spellings of a number share: 1, 1.0 and 1e0 are 1.

    It is text, a number as JSON writes it, where neither an `int` of 18 digits nor a float holds the exact value.
    """
    if type(number) is int and -_PLAIN < number < _PLAIN:
        return number
    text = written_text(number) or repr(number)
    if type(number) is float and len(text) <= _FLOAT_DIGITS and "e" not in text:
        return int(number) if number.is_integer() else number
    sign, digits, exponent = _Parts.of(text)
    if not digits:
        return 0
    if exponent >= 0 and len(digits) + exponent <= _PLAIN_DIGITS:
        return int(f"{sign}{digits}{'0' * exponent}")
    if len(digits) <= _FLOAT_DIGITS and len(digits) + exponent in _FLOAT_EXPONENTS:
        return float(f"{sign}{digits}e{exponent}")
    return f"{sign}{digits}e{exponent}"
