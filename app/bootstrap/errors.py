"""The error of a server, or of a command that works on its data, that cannot start."""

from __future__ import annotations


class StartFailed(Exception):
    """Something outside the server keeps it from starting. The message says what, and what to do about it."""
