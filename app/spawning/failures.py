"""How a failure is told: short, on one line, without anything that a terminal would obey."""

from __future__ import annotations

LONGEST = 2000


def printable(text: str, *, longest: int = LONGEST) -> str:
    """`text` with control characters escaped, its start left out if it is longer than `longest` characters."""
    shown = "".join(letter if letter.isprintable() else _escaped(letter) for letter in text[-longest:].strip())
    return f"…{shown}" if len(text) > longest else shown


def _escaped(letter: str) -> str:
    return "\\n" if letter == "\n" else letter.encode("unicode_escape", "backslashreplace").decode()


def told(error: BaseException) -> str:
    """An exception by its type and message."""
    message = printable(str(error))
    name = type(error).__name__
    return f"{name}: {message}" if message else name
