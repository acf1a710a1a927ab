"""Which URLs may be called: prefixes of the settings, compared part by part and never as text.

The URL that is compared is the one that is sent, as `httpx.URL` reads it. What two readers could understand differently
(user information, encoded slashes and dots, backslashes, dot segments, fragments) is refused, not explained.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from urllib.parse import unquote

import httpx

from app.domain.errors import DispatchFailed
from app.domain.redaction import printable

_PORTS = {"http": 80, "https": 443}
_PLAIN = re.compile(r"[!-~]+")
_DECODINGS = 4
_MAX_HOST = 253  # RFC 1035, section 3.1, as text
_MAX_PORT = 65_535


class UrlRefused(Exception):
    """The URL must not be called. The message says why."""


@dataclass(frozen=True, slots=True)
class UrlPrefix:
    """Scheme, host, port and the first segments of the path."""

    scheme: str
    host: str
    port: int
    segments: tuple[str, ...]

    @classmethod
    def parse(cls, text: str) -> UrlPrefix:
        """Return the prefix in an entry of the settings. Raises ValueError for anything else, queries included."""
        try:
            url = _read(text)
            if url.query:
                raise UrlRefused("it has a query")
            return _parts(url)
        except UrlRefused as refusal:
            raise ValueError(f"{text!r} is not a URL prefix: {refusal}") from refusal

    def covers(self, other: UrlPrefix) -> bool:
        """Return whether `other` begins with this prefix, whole segments compared."""
        return (self.scheme, self.host, self.port) == (other.scheme, other.host, other.port) and (
            other.segments[: len(self.segments)] == self.segments
        )

    def __str__(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{self.scheme}://{host}:{self.port}/{'/'.join(self.segments)}"


def allowed(text: str, prefixes: Sequence[UrlPrefix]) -> httpx.URL:
    """Return the URL to call. Raises DispatchFailed unless one of the prefixes covers it."""
    try:
        url = _read(text)
        parts = _parts(url)
    except UrlRefused as refusal:
        raise DispatchFailed(f"the URL cannot be used: {refusal}") from refusal
    if not any(prefix.covers(parts) for prefix in prefixes):
        known = ", ".join(map(str, prefixes)) or "none"
        raise DispatchFailed(f"the settings do not allow this URL; allowed prefixes: {known}")
    return url


def _read(text: str) -> httpx.URL:
    if _PLAIN.fullmatch(text) is None or "\\" in text or "#" in text:
        raise UrlRefused("it holds characters other than plain ASCII, a backslash or a fragment")
    try:
        url = httpx.URL(text)
        host = url.host
        # What the resolver will do: it refuses empty and overlong labels.
        host.encode("idna")
    except (httpx.InvalidURL, ValueError) as error:
        raise UrlRefused(f"its host or port cannot be read ({printable(str(error), longest=100)})") from error
    if url.scheme not in _PORTS or not host:
        raise UrlRefused("it is not an absolute http or https URL")
    if len(host) > _MAX_HOST:
        raise UrlRefused(f"its host is longer than {_MAX_HOST} characters")
    if url.port is not None and not 1 <= url.port <= _MAX_PORT:
        raise UrlRefused(f"its port is not in 1 to {_MAX_PORT}")
    if url.userinfo or "@" in text.split("://", 1)[-1].split("/", 1)[0]:
        raise UrlRefused("it holds user information")
    _segments(text.split("://", 1)[-1].partition("/")[2].partition("?")[0])
    return url


def _parts(url: httpx.URL) -> UrlPrefix:
    path = url.raw_path.partition(b"?")[0].decode("ascii")
    return UrlPrefix(url.scheme, url.host, url.port or _PORTS[url.scheme], _segments(path))


def _segments(path: str) -> tuple[str, ...]:
    """Return the decoded segments of a path without empty ones."""
    decoded = path
    for _ in range(_DECODINGS):
        decoded = unquote(decoded)
    if unquote(decoded) != decoded:
        raise UrlRefused("its path is encoded again and again")
    if decoded.count("/") != path.count("/") or "\\" in decoded or not decoded.isprintable():
        raise UrlRefused("its path holds an encoded slash, a backslash or a control character")
    segments = [segment for segment in decoded.split("/") if segment]
    if any(segment.partition(";")[0] in (".", "..") for segment in segments):
        raise UrlRefused("its path holds dot segments")
    return tuple(segments)
