"""Observers: they read and follow, and change nothing."""

from __future__ import annotations

from swarmhold.sessions import SessionCalls
from swarmhold.traces import TraceCalls


class Observer(SessionCalls, TraceCalls):
    """An observer's session or minted token."""
