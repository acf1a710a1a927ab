"""The open streams and WebSockets of each session in this process. A session that only looks ends with its last one."""

from __future__ import annotations

from collections import Counter

import structlog

from app.domain.access import Caller
from app.domain.errors import EngineError
from app.engine.sessions import Sessions

_log = structlog.get_logger(__name__)


class Connected:
    """Counts connections by the token that opened them."""

    def __init__(self, sessions: Sessions) -> None:
        self._sessions = sessions
        self._open: Counter[str] = Counter()

    def opened(self, caller: Caller) -> None:
        """Count one more connection."""
        if caller.jti is not None:
            self._open[caller.jti] += 1

    async def closed(self, caller: Caller, *, by_client: bool) -> None:
        """Count one less. A quiet session whose client closed its last connection is detached until its next heartbeat.

        One that the server closed stays: its client connects anew, here or to another server.
        """
        if caller.jti is None:
            return
        self._open[caller.jti] -= 1
        if self._open[caller.jti] > 0:
            return
        del self._open[caller.jti]
        if by_client:
            try:
                await self._sessions.detach_left(caller)
            except EngineError as error:
                _log.info("session_not_detached", session_id=caller.session_id, cause=error.code)
