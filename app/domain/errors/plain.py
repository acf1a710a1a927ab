"""What is no branch's: a wait that ended, and a fault of the server itself."""

from __future__ import annotations

from app.domain.errors.root import EngineError


class PollTimeout(EngineError):
    """The hold ended and what was waited for has not happened; nothing is wrong, ask again."""

    code = "poll-timeout"

    def __init__(self, what: str, hold_s: float) -> None:
        super().__init__(what, hold_s)
        self.what = what
        self.hold_s = hold_s

    def __str__(self) -> str:
        return f"{self.what} did not settle within {self.hold_s:g} s. Ask again."


class Internal(EngineError):
    """A fault of the server itself. `reference` finds it in the server's log."""

    code = "internal"

    def __init__(self, reference: str) -> None:
        super().__init__(reference)
        self.reference = reference

    def __str__(self) -> str:
        return f"The server failed. Its log has the details under {self.reference}."
