"""How a command ends when it cannot do what it was asked."""

from __future__ import annotations

EXIT_FAILED = 1
EXIT_MISUSED = 2


class CommandFailed(Exception):
    """The command cannot go on. The message says why and what to do; it is all that the user sees."""

    def __init__(self, message: str, *, status: int = EXIT_FAILED) -> None:
        super().__init__(message)
        self.status = status
