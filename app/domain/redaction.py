"""What secrets look like, and a text without them: for logs, for what is kept of failures, for people's eyes."""

from __future__ import annotations

import re

_HIDDEN = "[redacted]"
_SECRETS = re.compile(
    r"(?P<key>(?:shk|whs)_)[A-Za-z0-9_\-]+"  # API keys, webhooks' secrets
    r"|(?P<handle>\bwh-)[0-9A-Za-z]{8,}"
    r"|(?P<token>\beyJ)[A-Za-z0-9_\-]+\.[A-Za-z0-9_\-]+(?:\.[A-Za-z0-9_\-]*)?"  # RFC 7515, section 7.1
    r"|(?P<bearer>\b[Bb]earer\s+)[^\s\"',]+"
    r"|(?P<url>\b[a-z][a-z0-9+.\-]*://[^\s:/@\"']*:)[^\s@/\"']+(?=@)"
)


def redact(text: str) -> str:
    """The text with every API key, handle, token, webhook's secret and password of a URL made unreadable."""
    return _SECRETS.sub(_hide, text)


def _hide(found: re.Match[str]) -> str:
    return found[found.lastgroup or 0] + _HIDDEN
