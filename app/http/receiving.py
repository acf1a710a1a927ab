"""How many bytes of request bodies are held at a time: in all, of one API key, and of one source without a credential.

Bodies that arrive in one piece are small and not counted. A longer one belongs to its source until its credential was
checked, and from then on to the API key that the credential descends from.
"""

from __future__ import annotations

from collections import Counter

from starlette.types import Message, Receive, Scope

from app.domain.errors import Overloaded
from app.domain.limits import Limits
from app.http.auth_rate_limit import source_of


class Receiving:
    """The bodies that are being received or worked on."""

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._held = Counter[str]()
        self._total = 0

    @property
    def held(self) -> int:
        """How many bytes are held now."""
        return self._total

    def body(self, scope: Scope, receive: Receive) -> IncomingBody:
        """Return the body of a request; close it when the request is done."""
        return IncomingBody(self, scope, receive)

    def hold(self, holder: str, size: int, *, known: bool) -> None:
        """Count bytes of a holder's body. Raises Overloaded when there would be too many."""
        quota = "receiving_each" if known else "receiving_unknown"
        each = self._limits.receiving_each_bytes if known else self._limits.receiving_unknown_bytes
        if self._held[holder] + size > each:
            raise Overloaded(quota, each)
        if self._total + size > self._limits.receiving_bytes:
            raise Overloaded("receiving", self._limits.receiving_bytes)
        self._held[holder] += size
        self._total += size

    def release(self, holder: str, size: int) -> None:
        """Stop counting these bytes."""
        self._total -= size
        self._held[holder] -= size
        if self._held[holder] <= 0:
            del self._held[holder]


class IncomingBody:
    """One request's body as it arrives."""

    __slots__ = ("_holder", "_known", "_raw", "_receiving", "_scope", "_size")

    def __init__(self, receiving: Receiving, scope: Scope, raw: Receive) -> None:
        self._receiving = receiving
        self._scope = scope
        self._raw = raw
        self._holder = ""
        self._known = False
        self._size = 0

    async def receive(self) -> Message:
        """Receive a message and count its bytes. Raises Overloaded."""
        message = await self._raw()
        if self._holder or message.get("more_body", False):
            self._holder = self._holder or source_of(self._scope.get("client"))
            self._hold(len(message.get("body", b"")))
        return message

    def belongs_to(self, key_id: str) -> None:
        """Count its bytes for an API key instead of its source address. Raises Overloaded."""
        size = self._size
        self.close()
        self._holder, self._known = key_id, True
        self._hold(size)

    def close(self) -> None:
        """Stop counting its bytes."""
        if self._size:
            self._receiving.release(self._holder, self._size)
            self._size = 0

    def _hold(self, size: int) -> None:
        self._receiving.hold(self._holder, size, known=self._known)
        self._size += size
