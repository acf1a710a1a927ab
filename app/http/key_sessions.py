"""The sessions in which the doors besides REST and WebSocket work for an API key."""

from __future__ import annotations

import time
from collections import OrderedDict
from dataclasses import dataclass
from datetime import timedelta

from app.domain.access import Role
from app.domain.doors import Door
from app.domain.names import LONGEST
from app.domain.sessions import SessionOptions
from app.domain.tokens import ApiKey, CapToken
from app.engine.ops.idempotency import Idempotency
from app.engine.sessions import Sessions

_DAY_S = 86_400
_LIFE = timedelta(days=2)
_HEARTBEAT_S = 10.0
_MOST = 10_000

Slot = tuple[Door, str, Role, int]
"""A door, a key's id, one of its roles, and the day."""


@dataclass(slots=True)
class _Open:
    """A session that is open, and when its heartbeat was recorded."""

    token: CapToken
    beat_at: float


class KeySessions:
    """Attaches a session for each door, key, role and day, and keeps it attached while it is used.

    Servers that share a database find the same session.
    """

    def __init__(self, sessions: Sessions, *, longest: timedelta) -> None:
        self._sessions = sessions
        self._life = min(_LIFE, longest)
        self._open: OrderedDict[Slot, _Open] = OrderedDict()

    async def token(self, door: Door, key: ApiKey, text: str, role: Role) -> CapToken:
        """Return the token of the session of the day of the key with this text, which is named `<door>:<key>`.

        Raises Unauthenticated, RoleViolation.
        """
        now = time.time()
        slot = (door, key.id, role, int(now // _DAY_S))
        found = self._open.get(slot)
        if found is None:
            attached = await self._sessions.attach_by_key(
                text,
                f"{door}:{key.name}"[:LONGEST],
                role,
                self._life,
                SessionOptions(quiet=True),
                idempotency=Idempotency(f"{door}:{role}:{slot[3]}", door),
            )
            found = self._open[slot] = _Open(attached.token, 0.0)
            if len(self._open) > _MOST:
                self._open.popitem(last=False)
        self._open.move_to_end(slot)
        if now - found.beat_at > _HEARTBEAT_S:
            await self._sessions.heartbeat(found.token)
            found.beat_at = now
        return found.token
