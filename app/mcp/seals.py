"""Seals of values that clients keep for the server, by a key of its ring, so that no node has to remember them."""

from __future__ import annotations

from typing import Any

import orjson
from mcp import types
from mcp.server.request_state import AESGCMRequestStateCodec, InvalidRequestState, RequestStateSecurity
from pydantic import ValidationError

from app.domain.clock import Clock
from app.domain.handles import HandleMint
from app.mcp.calls import Value
from app.mcp.requests import client_of

LIFE_S = 600.0
"""For how long a client may answer what it was asked to ask its person."""


class Seals:
    """Seals and opens. What was sealed for one principal, or by another key ring, opens as nothing."""

    def __init__(self, mint: HandleMint, clock: Clock) -> None:
        self._codec = AESGCMRequestStateCodec([mint.keyed_digest("mcp: what clients keep")])
        self._clock = clock

    @property
    def of_calls(self) -> RequestStateSecurity:
        """How the state of a call that is made again is sealed: for its principal, tool and arguments."""
        return RequestStateSecurity(codec=self._codec, ttl=LIFE_S, bind_principal=lambda c: client_of(c).principal)

    def seal_session(self, principal: str, can: types.ElicitationCapability) -> str:
        """Return what a client of the handshake sends along with each request: how it asks its person."""
        return self._seal({"for": principal, "can": can.model_dump(by_alias=True, mode="json", exclude_none=True)})

    def open_session(self, principal: str, text: str) -> types.ClientCapabilities | None:
        """Return what a client said at its handshake."""
        try:
            return types.ClientCapabilities(elicitation=self._open(principal, text)["can"])
        except (KeyError, ValidationError):
            return None

    def seal_request(self, principal: str, key: str) -> str:
        """Return the id of a request to a client that asks its person a question."""
        return self._seal({"for": principal, "key": key, "until": self._clock() / 1000 + LIFE_S})

    def open_request(self, principal: str, text: Any) -> str | None:
        """Return the key of the question that a client's reply is for, None unless it was asked it lately."""
        found = self._open(principal, text) if isinstance(text, str) else {}
        return found["key"] if found.get("until", 0.0) > self._clock() / 1000 else None

    def _seal(self, content: Value) -> str:
        return self._codec.seal(orjson.dumps(content))

    def _open(self, principal: str, text: str) -> Value:
        try:
            found: Value = orjson.loads(self._codec.unseal(text))
        except (InvalidRequestState, orjson.JSONDecodeError):
            return {}
        return found if found.get("for") == principal else {}
