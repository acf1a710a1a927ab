"""Query strings: unknown names are refused with the nearest known one, parameters with an empty value left out."""

from __future__ import annotations

from collections.abc import Collection
from difflib import get_close_matches
from urllib.parse import parse_qsl

from app.domain.errors import InvalidRequest

NEVER_EMPTY = frozenset({"ok"})
"""Query parameters whose empty value is refused: whether a result is good is never assumed."""

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


def pairs_of(query: bytes) -> list[tuple[str, str]]:
    """Return the query's names and values, decoded. Raises InvalidRequest."""
    try:
        return parse_qsl(query.decode("ascii"), keep_blank_values=True, errors="strict", max_num_fields=100)
    except ValueError:
        raise InvalidRequest("the query is not percent-encoded UTF-8 of at most 100 parameters") from None


def _is_empty(part: bytes) -> bool:
    name, _, rest = part.partition(b"=")
    return part.endswith(b"=") and not rest and name.decode("latin-1") not in NEVER_EMPTY
