"""Why a server, or a command that works on its data, cannot start."""

from __future__ import annotations


class StartFailed(Exception):
    """Something outside the server stands in its way. The message says what, and what to do about it."""
