"""The `Idempotency-Key` header: what a key may look like, and the digest of the request that it comes with.

The engine keeps the key in the transaction that creates, so that a repeat finds the object or makes it, never both.
"""

from __future__ import annotations

from contextlib import suppress
from hashlib import sha256

from starlette.types import Scope

from app.domain.errors import InvalidRequest, PayloadTooLarge
from app.domain.json import canonical, decode
from app.engine.ops.idempotency import Idempotency
from app.http import bodies

HEADER = "Idempotency-Key"
LONGEST = 255

_NAME = HEADER.lower().encode()


async def idempotency_of(scope: Scope, body: bytes) -> Idempotency | None:
    """Return the request's key, or None. Raises InvalidRequest for one that is empty, too long or not printable."""
    for name, value in scope["headers"]:
        if name == _NAME:
            return Idempotency(_checked(value), await bodies.off_loop(body, lambda: _fingerprint(scope, body)))
    return None


def _checked(value: bytes) -> str:
    text = value.decode("latin-1").strip()
    if not 1 <= len(text) <= LONGEST or not text.isascii() or not text.isprintable():
        raise InvalidRequest(f"an idempotency key has 1 to {LONGEST} printable ASCII characters", HEADER)
    return text


def _fingerprint(scope: Scope, body: bytes) -> str:
    digest = sha256()
    for part in (scope["method"].encode(), scope["path"].encode(), _in_one_spelling(body)):
        digest.update(b"%d:" % len(part))
        digest.update(part)
    return digest.hexdigest()


def _in_one_spelling(body: bytes) -> bytes:
    """Return JSON in its canonical form, so that equal values have equal bytes; any other body as it is."""
    with suppress(ValueError, TypeError, RecursionError, PayloadTooLarge):
        return canonical(decode(body))
    return body
