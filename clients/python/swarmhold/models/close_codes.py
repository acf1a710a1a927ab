"""The codes with which the server closes a WebSocket."""

from __future__ import annotations

from enum import IntEnum

__all__ = ["CloseCode"]


class CloseCode(IntEnum):
    """Why the server closed a connection: for good, or for now if the reader was slow or has too many."""

    UNAUTHENTICATED = 4401
    FORBIDDEN = 4403
    SLOW_READER = 4408
    REPLACED = 4409
    QUOTA_EXCEEDED = 4429
