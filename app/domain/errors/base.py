"""The root of the error tree and its categories: callers catch a category, edges map each leaf's `code`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar


class EngineError(Exception):
    """Root of the tree. `code` is stable and kebab-case."""

    code: ClassVar[str] = "engine-error"

    def fields(self) -> dict[str, Any]:
        """Return the error's typed fields, JSON-ready and safe to show to the caller."""
        return dict(vars(self))


class Busy(EngineError):
    """The state cannot be used right now; the same call may succeed later."""


class AccessDenied(EngineError):
    """The credential does not allow the call."""


class NotFound(EngineError):
    """The named object does not exist, or is not visible to this caller."""


class Conflict(EngineError):
    """The call does not fit the current state; nothing was changed."""


class InvalidInput(EngineError):
    """The call is well-formed, but its content cannot be accepted."""


@dataclass(eq=False)
class PollTimeout(EngineError):
    """The hold ended before the awaited change. This is no failure: poll again."""

    code = "poll-timeout"
    what: str
    hold_s: float

    def __str__(self) -> str:
        return f"{self.what} did not settle within {self.hold_s:g} s. Poll again."


@dataclass(eq=False)
class Internal(EngineError):
    """The server itself failed. `reference` finds the details in its log."""

    code = "internal"
    reference: str

    def __str__(self) -> str:
        return f"The server failed. Its log has the details under {self.reference}."
