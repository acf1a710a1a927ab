"""Standard output whose errors users can read."""

from __future__ import annotations

import os
from typing import Any, TextIO

from app.cli.exits import EXIT_MISUSED, CommandFailed


class CheckedOutput:
    """Standard output whose errors end the command with a message: a full disk, a reader that is gone."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    def write(self, text: str) -> int:
        """Write a text. Raises CommandFailed."""
        try:
            return self._stream.write(text)
        except OSError as error:
            raise self._failed(error) from error

    def flush(self) -> None:
        """Write what is buffered. Raises CommandFailed."""
        try:
            self._stream.flush()
        except OSError as error:
            raise self._failed(error) from error

    def _failed(self, error: OSError) -> CommandFailed:
        # What is still buffered goes nowhere, so that the interpreter's end does not complain again.
        os.dup2(os.open(os.devnull, os.O_WRONLY), self._stream.fileno())
        return CommandFailed(
            f"Standard output cannot be written: {error.strerror}. Send it where there is room and a reader.",
            status=EXIT_MISUSED,
        )
