"""The root of the client's errors, and the one that the models themselves raise; `swarmhold.errors` has the tree."""

from __future__ import annotations

from pydantic import ValidationError

__all__ = ["Error", "InvalidArgument"]


class Error(Exception):
    """Root of every error that this package raises."""


class InvalidArgument(Error, ValueError):
    """An argument that the API does not take; nothing was sent."""

    @classmethod
    def of(cls, error: ValidationError) -> InvalidArgument:
        """Return an error that names every unfit field and says why, without the value: it may be a secret."""
        wrong = error.errors(include_url=False, include_context=False, include_input=False)
        parts = (": ".join(filter(None, (".".join(map(str, item["loc"])), item["msg"]))) for item in wrong)
        return cls(f"{error.title}: {'; '.join(parts)}")
