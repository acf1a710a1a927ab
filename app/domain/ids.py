"""Ids: a prefix and a 128-bit number whose text sorts by time.

The number is a UUIDv7 (RFC 9562, section 5.7) written as 26 characters of lower-case Crockford base32. An id
grants nothing: only a token, a handle or a key does.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from uuid import UUID

from app.domain.clock import Clock, system_clock

ALPHABET = "0123456789abcdefghjkmnpqrstvwxyz"
"""Crockford base32 in lower case: no i, l, o, u."""

_PAIRS = tuple(a + b for a in ALPHABET for b in ALPHABET)
_ID = re.compile(rf"(?:T|S|R|K|N|W|H|L|P)-[0-7][{ALPHABET}]{{25}}")
_COUNTER_BITS = 12
ID_LENGTH = 26
_INSTANT_LENGTH = 10
_REST_LENGTH = ID_LENGTH - _INSTANT_LENGTH
_RANDOM_LETTERS = 12
"""Letters at the end of an id, 60 of its 62 random bits. The two others are in the four letters before them, behind
version, counter and variant."""

LETTERS = bytes(ord(ALPHABET[byte & 31]) for byte in range(256))
"""Maps a random byte to a letter."""


def encode_base32(number: int, length: int) -> str:
    """Return `number` as `length` characters of the alphabet, most significant first."""
    out: list[str] = []
    while length > 1:
        out.append(_PAIRS[number & 1023])
        number >>= 10
        length -= 2
    if length:
        out.append(ALPHABET[number & 31])
    out.reverse()
    return "".join(out)


def is_id(text: str, prefix: str) -> bool:
    """Return whether `text` is a well-formed id with this prefix (`T`, `S`, `R`, `K`, `N`, `W`, `H`, `L` or `P`)."""
    return text.startswith(prefix + "-") and _ID.fullmatch(text) is not None


def uuid_of(id: str) -> UUID:
    """Return the 128 bits of an id as the UUIDv7 that they are."""
    number = 0
    for letter in id.partition("-")[2]:
        number = number << 5 | ALPHABET.index(letter)
    return UUID(int=number)


def id_of(prefix: str, uuid: UUID) -> str:
    """Return the id with the bits of a UUID."""
    return f"{prefix}-{encode_base32(uuid.int, ID_LENGTH)}"


def first_id(prefix: str, at: int) -> str:
    """Return the smallest id that could have been made at an instant, in milliseconds."""
    instant = min(max(at, 0), 32**_INSTANT_LENGTH - 1)
    return f"{prefix}-{encode_base32(instant, _INSTANT_LENGTH)}{'0' * _REST_LENGTH}"


class IdSource:
    """Generates monotonic ids: later calls of one source return greater ids, even when the clock steps back.

    Within one millisecond a 12-bit counter orders the ids; 62 bits are random. Not thread-safe: each thread that runs
    transactions has its own source or calls it under its own lock.
    """

    __slots__ = ("_clock", "_counter", "_last", "_last_text", "_random")

    def __init__(self, *, clock: Clock = system_clock, random: Callable[[int], bytes] = os.urandom) -> None:
        self._clock = clock
        self._random = random
        self._last = 0
        self._last_text = ""
        self._counter = 0

    def new(self, prefix: str) -> str:
        """Return a fresh id, e.g. `T-01jd…`."""
        now = self._clock()
        if now > self._last:
            self._begin(now)
        else:
            self._counter += 1
            if self._counter >> _COUNTER_BITS:
                self._begin(self._last + 1)
        random = self._random(_RANDOM_LETTERS + 1)
        head = (7 << 16) | (self._counter << 4) | (2 << 2) | (random[0] & 3)
        tail = random[1:].translate(LETTERS).decode()
        return f"{prefix}-{self._last_text}{_PAIRS[head >> 10]}{_PAIRS[head & 1023]}{tail}"

    def _begin(self, millisecond: int) -> None:
        """Count from 0 in another millisecond. Its text is remembered: many ids begin with it."""
        self._last = millisecond
        self._last_text = encode_base32(millisecond, _INSTANT_LENGTH)
        self._counter = 0

    def task(self) -> str:
        """Return a fresh task id, `T-…`."""
        return self.new("T")

    def session(self) -> str:
        """Return a fresh session id, `S-…`."""
        return self.new("S")

    def resume_key(self) -> str:
        """Return a fresh question key, `R-…`."""
        return self.new("R")
