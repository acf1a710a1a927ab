"""Query strings: unknown names are refused with the nearest known one, parameters with an empty value left out."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from difflib import get_close_matches
from functools import lru_cache
from urllib.parse import parse_qsl

from app.domain.errors import InvalidRequest

NEVER_EMPTY = frozenset({"ok"})
"""Query parameters whose empty value is refused: whether a result is good is never assumed."""

_SHORT = 64
"""Bytes of a query string up to which what was made of it is remembered: few different ones are sent."""
_REMEMBERED = 1024
_SHOWN = 80
"""Characters of an unknown name that its error repeats."""


class KnownParameters:
    """The names of the query parameters that a route takes."""

    __slots__ = ("_encoded", "_names")

    def __init__(self, names: Collection[str]) -> None:
        self._names = frozenset(names)
        self._encoded = frozenset(name.encode() for name in names)

    def accept(self, query: bytes) -> bytes:
        """Return the query without parameters that have an empty value, as many clients write what they leave out.

        Those in NEVER_EMPTY stay. Raises InvalidRequest for a name that the route does not take.
        """
        return _accept_short(self, query) if len(query) <= _SHORT else self.accept_long(query)

    def accept_long(self, query: bytes) -> bytes:
        """Return what `accept` does, without remembering it."""
        for part in query.split(b"&"):
            if part.partition(b"=")[0] not in self._encoded:
                self._check_names(query)
                break
        if query.endswith(b"=") or b"=&" in query:
            return b"&".join([part for part in query.split(b"&") if not _is_empty(part)])
        return query

    def _check_names(self, query: bytes) -> None:
        for name, _ in pairs_of(query):
            if name not in self._names:
                raise InvalidRequest(f"unknown query parameter {name[:_SHOWN]!r}; {self._instead_of(name)}")

    def _instead_of(self, name: str) -> str:
        nearest = get_close_matches(name[:_SHOWN], sorted(self._names), n=1)
        if nearest:
            return f"did you mean {nearest[0]!r}?"
        if not self._names:
            return "this route takes none."
        return f"this route takes {', '.join(sorted(self._names))}."


@lru_cache(maxsize=_REMEMBERED)
def _accept_short(known: KnownParameters, query: bytes) -> bytes:
    return known.accept_long(query)


def pairs_of(query: bytes) -> Sequence[tuple[str, str]]:
    """Return the query's names and values, decoded. Raises InvalidRequest."""
    return _short_pairs(query) if len(query) <= _SHORT else _pairs(query)


def _pairs(query: bytes) -> Sequence[tuple[str, str]]:
    try:
        found = parse_qsl(query.decode("ascii"), keep_blank_values=True, errors="strict", max_num_fields=100)
    except ValueError:
        raise InvalidRequest("the query is not percent-encoded UTF-8 of at most 100 parameters") from None
    return tuple(found)


_short_pairs = lru_cache(maxsize=_REMEMBERED)(_pairs)


def _is_empty(part: bytes) -> bool:
    name, _, rest = part.partition(b"=")
    return part.endswith(b"=") and not rest and name.decode("latin-1") not in NEVER_EMPTY
