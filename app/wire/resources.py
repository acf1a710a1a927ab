"""Resources: named values that workers may read."""

from __future__ import annotations

from app.wire.instants import Instant
from app.wire.shapes import JsonValue, Shape

__all__ = ["Resource"]


class Resource(Shape):
    """A named value and when it was last set."""

    key: str
    value: JsonValue
    updated_at: Instant
