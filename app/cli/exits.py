"""The exit statuses of commands, and the error that ends one."""

from __future__ import annotations

EXIT_FAILED = 1
EXIT_MISUSED = 2


class CommandFailed(Exception):
    """The command cannot continue. Its message, all that the user sees, says why and what to do."""

    def __init__(self, message: str, *, status: int = EXIT_FAILED) -> None:
        super().__init__(message)
        self.status = status
