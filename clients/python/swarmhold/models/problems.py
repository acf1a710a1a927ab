"""Problems: what every refused request gets (RFC 9457, `application/problem+json`)."""

from __future__ import annotations

from swarmhold.models.shapes import JsonObject, Shape

__all__ = ["PROBLEM_MEDIA_TYPE", "Problem"]

PROBLEM_MEDIA_TYPE = "application/problem+json"


class Problem(Shape):
    """`code` is stable and made for programs; `detail` says what to do and is for people.

    Further members depend on the code and are kept as extra fields.
    """

    type: str = "about:blank"
    title: str
    status: int
    detail: str | None = None
    code: str

    @property
    def fields(self) -> JsonObject:
        """The members that this code adds to the standard ones."""
        return dict(self.model_extra or {})
