"""The Host header: exactly one in HTTP/1.1 (RFC 9112, section 3.2), and one that this server is known under.

A page of another site may make its own name resolve to this server's address (DNS rebinding); its requests carry that
name, and are refused because of it.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from urllib.parse import urlsplit

from starlette.types import Scope

from app.http.errors import HostNotAllowed, InvalidHost

ANY = "*"
LOOPBACK = ("localhost", "127.0.0.1", "[::1]")
"""Names that no other site can make its own."""


def names_of(host: str, public_url: str | None, allowed: Sequence[str], *, loopback: bool) -> tuple[str, ...]:
    """Return the host names of a server that listens on `host`; () accepts every name.

    Without `allowed` names it accepts every name, unless the server listens on a `loopback` address.
    """
    if ANY in allowed or not (allowed or loopback):
        return ()
    own = [f"[{host}]" if ":" in host and not host.startswith("[") else host] if loopback else []
    public = [urlsplit(public_url).netloc.rpartition("@")[2]] if public_url else []
    return tuple(dict.fromkeys(_name(text.encode()).decode() for text in (*LOOPBACK, *own, *public, *allowed)))


class HostCheck:
    """Refuses requests by their Host header. Without `names` every name is accepted."""

    __slots__ = ("_names",)

    def __init__(self, names: Sequence[str]) -> None:
        self._names = frozenset(_name(name.encode()) for name in names)

    def check(self, scope: Scope) -> None:
        """Raise InvalidHost for no host or several, HostNotAllowed for a name that is not this server's."""
        host: bytes | None = None
        for name, value in scope["headers"]:
            if name == b"host":
                if host is not None:
                    raise InvalidHost("two Host header fields")
                host = value
        if host is None:
            if scope["http_version"] != "1.0":
                raise InvalidHost("no Host header field")
        elif self._names and _name(host) not in self._names:
            raise HostNotAllowed(host.decode("latin-1")[:200])


@lru_cache(maxsize=256)
def _name(host: bytes) -> bytes:
    """Return the name without its port, in lower case."""
    end = host.find(b"]") + 1 or host.find(b":")
    return (host if end <= 0 else host[:end]).lower().removesuffix(b".")
