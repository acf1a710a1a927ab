"""Dispatching: whether new attempts start. The API calls it the loop."""

from __future__ import annotations

from swarmhold.models.instants import Instant
from swarmhold.models.shapes import Shape

__all__ = ["LoopState"]


class LoopState(Shape):
    """Whether dispatching is paused. `by` and `since` say who paused it and when; null while it is not."""

    paused: bool
    by: str | None
    since: Instant | None
