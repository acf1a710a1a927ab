"""How a failure is told: short, on one line, without secrets and without anything that a terminal would obey."""

from __future__ import annotations

from app.domain.redaction import redact

LONGEST = 2000


def printable(text: str, *, longest: int = LONGEST) -> str:
    """`text` with secrets taken out and control characters escaped; of a longer one the last `longest` characters."""
    safe = redact(text).strip()
    kept = safe[-longest:]
    shown = kept if kept.isprintable() else "".join(map(_escaped, kept))
    return f"…{shown}" if len(safe) > longest else shown


def _escaped(letter: str) -> str:
    return letter if letter.isprintable() else letter.encode("unicode_escape", "backslashreplace").decode()


def told(error: BaseException) -> str:
    """An exception by its type and message."""
    message = printable(str(error))
    name = type(error).__name__
    return f"{name}: {message}" if message else name
