"""Worker handles: short bearer credentials with a check character, stored only as keyed digests.

A handle is `wh-`, random characters of the id alphabet (which has no ambiguous letters), and one check character, so
that a mistyped handle can be distinguished from an unknown one. Nine characters that tell when it was made precede the
random ones, and its digest: handles of one time then lie together in the database. Short handles have none.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from hashlib import sha256

from app.domain.clock import Instant
from app.domain.errors import HandleMistyped, InvalidRequest
from app.domain.ids import ALPHABET, LETTERS, encode_base32

PREFIX = "wh-"
DEFAULT_LENGTH = 27
"""Characters of the secret: 26 random ones (130 bits) and the check character."""
MIN_LENGTH = 8
SAFE_LENGTH = DEFAULT_LENGTH
"""A server that listens beyond loopback refuses shorter handles."""

LONGEST = 64
"""The longest secret."""

_TIME_LENGTH = 9
"""Characters of the instant: milliseconds of a thousand years."""
_TIMED = "t"
"""What the digests of timed handles begin with: no digest without a time does, and they sort by that time."""
_KEY_LENGTH = len(_TIMED) + _TIME_LENGTH + 32
_PLAIN = bytes(max(0, ALPHABET.find(chr(byte))) for byte in range(256))
"""Maps a letter's code to its value."""

_DOUBLED = bytes(2 * value // 32 + 2 * value % 32 for value in _PLAIN)
"""Maps a letter's code to the sum of the base-32 digits of twice its value."""
_SHAPE = re.compile(rf"[{ALPHABET}]+")
_HMAC_BLOCK = 64
_INNER = bytes(byte ^ 0x36 for byte in range(256))
_OUTER = bytes(byte ^ 0x5C for byte in range(256))
"""What HMAC (RFC 2104) makes of each byte of the key at the beginning of its two hashes."""


def check_character(body: str) -> str:
    """Return the Luhn mod 32 check character, which detects every wrong letter and nearly all transpositions."""
    letters = body.encode()[::-1]
    total = sum(letters[::2].translate(_DOUBLED)) + sum(letters[1::2].translate(_PLAIN))
    return ALPHABET[-total % 32]


class HandleMint:
    """Generates handles with secrets of one length, and digests them with one key (32 bytes or more)."""

    __slots__ = ("_inner", "_length", "_outer", "_random")

    def __init__(
        self, key: bytes, *, length: int = DEFAULT_LENGTH, random: Callable[[int], bytes] = os.urandom
    ) -> None:
        if len(key) < 32:
            raise InvalidRequest("a handle key needs 32 bytes or more")
        if length < MIN_LENGTH:
            raise InvalidRequest(f"a handle needs at least {MIN_LENGTH} characters", "handle_length")
        block = (key if len(key) <= _HMAC_BLOCK else sha256(key).digest()).ljust(_HMAC_BLOCK, b"\0")
        self._inner = sha256(block.translate(_INNER))
        self._outer = sha256(block.translate(_OUTER))
        self._length = length
        self._random = random

    def new(self, now: Instant) -> str:
        """Return a fresh handle, made at the instant `now`."""
        body = self._random(self._length - 1).translate(LETTERS).decode()
        if self._length >= DEFAULT_LENGTH:
            body = encode_base32(now, _TIME_LENGTH) + body
        return PREFIX + body + check_character(body)

    def digest(self, handle: str) -> str:
        """Return the digest under which the handle is stored. Raises HandleMistyped if the text is not a handle."""
        text = handle.strip().lower()
        body = text[len(PREFIX) : -1]
        if (
            not text.startswith(PREFIX)
            or not MIN_LENGTH <= len(text) - len(PREFIX) <= _TIME_LENGTH + LONGEST
            or _SHAPE.fullmatch(text, len(PREFIX)) is None
            or check_character(body) != text[-1]
        ):
            raise HandleMistyped
        return self.timed_digest(text)

    def timed_digest(self, handle: str) -> str:
        """Return the digest of a handle in lower case, after its time if it is long enough to have one."""
        digest = self.keyed_digest(handle)
        if len(handle) < len(PREFIX) + _TIME_LENGTH + DEFAULT_LENGTH:
            return digest
        return _TIMED + handle[len(PREFIX) : len(PREFIX) + _TIME_LENGTH] + digest

    def keyed_digest(self, secret: str) -> str:
        """Return the HMAC-SHA-256 of any secret text (API keys use it too), 64 hexadecimal characters."""
        # The library's own HMAC prepares the key at each call, which takes longer than the digest.
        inner, outer = self._inner.copy(), self._outer.copy()
        inner.update(secret.encode())
        outer.update(inner.digest())
        return outer.hexdigest()


def first_digest_of(instant: Instant) -> str:
    """Return what sorts between the digests of timed handles made before this instant and those made from then on."""
    return _TIMED + encode_base32(instant, _TIME_LENGTH)


def key_of(digest: str) -> str:
    """Return as much of a digest as is stored: behind a time 128 bits, else all of it."""
    return digest[:_KEY_LENGTH] if digest.startswith(_TIMED) else digest


def untimed(digest: str) -> str | None:
    """Return the digest of a handle as if its beginning were no time; None for one that is too short for a time.

    Earlier releases made handles of any length without one.
    """
    return digest[len(_TIMED) + _TIME_LENGTH :] if digest.startswith(_TIMED) else None
