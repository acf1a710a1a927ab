"""Resources: named values that workers may read."""

from __future__ import annotations

from swarmhold.models.instants import Instant
from swarmhold.models.shapes import JsonValue, Shape

__all__ = ["Resource"]


class Resource(Shape):
    """A named value and when it was last set."""

    key: str
    value: JsonValue
    updated_at: Instant
