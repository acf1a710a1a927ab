"""Observers: they read and follow, and change nothing."""

from __future__ import annotations

from app.client.sessions import SessionCalls
from app.client.traces import TraceCalls


class Observer(SessionCalls, TraceCalls):
    """An observer's session or minted token."""
