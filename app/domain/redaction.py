"""Text that is safe to log, to store and to show: secrets redacted, control characters escaped."""

from __future__ import annotations

import re

LONGEST = 2000
"""How many characters are kept of a text that came from outside."""

_HIDDEN = "[redacted]"
_SECRETS = re.compile(
    r"(?P<key>(?:shk|whs)_)[A-Za-z0-9_\-]+"  # API keys, secrets of older webhooks
    r"|(?P<webhook>wh(?:sec|sk)_)[A-Za-z0-9+/=]+"
    r"|(?P<link>\bal_)[0-9A-Za-z]{8,}"
    r"|(?P<handle>\bwh-)[0-9A-Za-z]{8,}"
    r"|(?P<token>\beyJ)[A-Za-z0-9_\-]+\.[A-Za-z0-9_\-]+(?:\.[A-Za-z0-9_\-]*)?"  # RFC 7515, section 7.1
    r"|(?P<bearer>\b[Bb]earer\s+)[^\s\"',]+"
    r"|(?P<url>\b[a-z][a-z0-9+.\-]*://[^\s:/@\"']*:)[^\s@/\"']+(?=@)"
)


def redact(text: str) -> str:
    """Return the text with every API key, handle, token, webhook secret and URL password replaced."""
    return _SECRETS.sub(_hide, text)


def _hide(found: re.Match[str]) -> str:
    return found[found.lastgroup or 0] + _HIDDEN


def printable(text: str, *, longest: int = LONGEST) -> str:
    """Return the text on one line, redacted and with control characters escaped; the last `longest` characters of it.

    A terminal that shows the result obeys nothing in it.
    """
    safe = redact(text).strip()
    kept = safe[-longest:]
    shown = kept if kept.isprintable() else "".join(map(_escaped, kept))
    return f"…{shown}" if len(safe) > longest else shown


def _escaped(letter: str) -> str:
    return letter if letter.isprintable() else letter.encode("unicode_escape", "backslashreplace").decode()


def describe(error: BaseException) -> str:
    """Return the exception's type and its printable message."""
    message = printable(str(error))
    name = type(error).__name__
    return f"{name}: {message}" if message else name
