"""The root of the tree and its branches; a caller catches a branch, an edge maps a leaf."""

from __future__ import annotations

from typing import Any, ClassVar


class EngineError(Exception):
    """Root of the tree. `code` is stable and kebab-case; `fields()` are safe to show to the caller."""

    code: ClassVar[str] = "engine-error"

    def fields(self) -> dict[str, Any]:
        """The typed fields of this error, JSON-ready, without secrets."""
        return {name: value for name, value in vars(self).items() if not name.startswith("_")}


class Busy(EngineError):
    """The state could not be used right now; the same call may succeed later."""


class Refused(EngineError):
    """The credential does not allow the call."""


class Missing(EngineError):
    """The thing named does not exist, or not for this caller."""


class Conflict(EngineError):
    """The call does not fit the present state of things; nothing was changed."""


class Unacceptable(EngineError):
    """The call is well-formed but its content cannot be accepted."""
