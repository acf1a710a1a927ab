"""Worker handles: short bearers with a check character, stored only as keyed digests.

A handle is `wh-`, random characters of the id alphabet (which has no ambiguous letters), and one check character, so
that a mistyped handle is told apart from a wrong one.
"""

from __future__ import annotations

import hmac
import os
import re
from collections.abc import Callable

from app.domain.errors import HandleMistyped, InvalidRequest
from app.domain.ids import ALPHABET

PREFIX = "wh-"
DEFAULT_LENGTH = 27
"""Characters after the prefix: 26 random ones (130 bits) and the check character."""
SHORTEST = 8
SAFE_LENGTH = DEFAULT_LENGTH
"""A server that is reachable from elsewhere refuses shorter handles."""

_LETTERS = bytes(ord(ALPHABET[byte & 31]) for byte in range(256))
"""From a random byte to a letter."""

_PLAIN = bytes(max(0, ALPHABET.find(chr(byte))) for byte in range(256))
"""From a letter's code to its value."""

_DOUBLED = bytes(2 * value // 32 + 2 * value % 32 for value in _PLAIN)
"""The same, doubled, with the digits of the result (in base 32) added up."""
_SHAPE = re.compile(rf"[{ALPHABET}]+")


def _check_character(body: str) -> str:
    """Luhn mod N for N = 32: catches every single wrong letter and nearly all swaps of neighbours."""
    letters = body.encode()[::-1]
    total = sum(letters[::2].translate(_DOUBLED)) + sum(letters[1::2].translate(_PLAIN))
    return ALPHABET[-total % 32]


class HandleMint:
    """Makes handles of one length and digests them under one key (32 bytes or more)."""

    __slots__ = ("_key", "_length", "_random")

    def __init__(
        self, key: bytes, *, length: int = DEFAULT_LENGTH, random: Callable[[int], bytes] = os.urandom
    ) -> None:
        if len(key) < 32:
            raise InvalidRequest("a handle key has 32 bytes or more")
        if length < SHORTEST:
            raise InvalidRequest(f"a handle has at least {SHORTEST} characters", "handle_length")
        self._key = key
        self._length = length
        self._random = random

    def new(self) -> str:
        """A fresh handle."""
        body = self._random(self._length - 1).translate(_LETTERS).decode()
        return PREFIX + body + _check_character(body)

    def digest(self, handle: str) -> str:
        """What is stored and looked up. Raises HandleMistyped when the text cannot be a handle at all."""
        text = handle.strip().lower()
        body = text[len(PREFIX) : -1]
        if (
            not text.startswith(PREFIX)
            or not SHORTEST <= len(text) - len(PREFIX) <= 64
            or _SHAPE.fullmatch(text, len(PREFIX)) is None
            or _check_character(body) != text[-1]
        ):
            raise HandleMistyped
        return self.keyed(text)

    def keyed(self, secret: str) -> str:
        """The keyed digest of any secret text (API keys use it too), 64 hexadecimal characters."""
        return hmac.digest(self._key, secret.encode(), "sha256").hex()
