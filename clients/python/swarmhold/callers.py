"""What all callers are made of: a transport, and the family of routes that their credential opens."""

from __future__ import annotations

from typing import ClassVar

from swarmhold.transport import Transport


class Caller:
    """One credential at work. Safe to use from many coroutines of one event loop."""

    _prefix: ClassVar[str] = "/v1/operator"

    def __init__(self, transport: Transport) -> None:
        self._transport = transport

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self._transport!r})"
