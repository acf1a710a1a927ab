"""Credentials as they travel: in the Authorization header, never in a URL (RFC 6750, section 2.1).

What is read here is only what kind of credential was sent; whether it is any good is checked by the engine, in the same
transaction as the work.
"""

from __future__ import annotations

import re
from functools import lru_cache

from starlette.types import Scope

from app.domain.errors import Unauthenticated
from app.domain.handles import PREFIX as HANDLE_PREFIX
from app.domain.tokens import KEY_PREFIX, Bearer, CapToken, Handle
from app.http.errors import HandleNotAllowed

WORKERS = "/v1/worker/"
LONGEST = 16_384

_TOKEN = re.compile(r"[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+\.[A-Za-z0-9_-]*")
_SCHEME = "bearer "


def credential_text(scope: Scope) -> str:
    """Return the text after `Bearer`. Raises Unauthenticated unless there is exactly one, of this scheme."""
    found: bytes | None = None
    for name, value in scope["headers"]:
        if name == b"authorization":
            if found is not None:
                raise Unauthenticated("two Authorization headers")
            found = value
    if found is None:
        raise Unauthenticated("missing")
    text = found.decode("latin-1")
    if text[:7].lower() != _SCHEME:
        raise Unauthenticated("not a Bearer credential")
    return text[7:].strip()


def bearer_of(text: str) -> Bearer:
    """Return the token or handle of a text. Raises Unauthenticated for anything else, API keys included."""
    return Handle(text.lower()) if is_handle(text) else _token_of(text)


@lru_cache(maxsize=4096)
def _token_of(text: str) -> CapToken:
    """Return the token of a text. Few tokens make very many requests."""
    if len(text) <= LONGEST and _TOKEN.fullmatch(text) is not None:
        return CapToken(text)
    raise Unauthenticated("an API key where a token is needed" if is_key(text) else "no credential")


def bearer(scope: Scope) -> Bearer:
    """Return the request's token or handle. Raises Unauthenticated, HandleNotAllowed outside the worker routes."""
    found = bearer_of(credential_text(scope))
    if isinstance(found, Handle) and not scope["path"].startswith(WORKERS):
        raise HandleNotAllowed
    return found


def is_key(text: str) -> bool:
    """Return whether a text has the form of an API key."""
    return text.startswith(KEY_PREFIX)


def is_handle(text: str) -> bool:
    """Return whether a text has the form of a worker's handle."""
    return text[:3].lower() == HANDLE_PREFIX


def api_key(scope: Scope) -> str:
    """Return the request's API key. Raises Unauthenticated for anything else."""
    text = credential_text(scope)
    if not is_key(text) or len(text) > LONGEST or not text.isascii():
        raise Unauthenticated("no API key where one is needed")
    return text
