"""Dispatching: whether new attempts start."""

from __future__ import annotations

from swarmhold.models.instants import Instant
from swarmhold.models.shapes import Shape

__all__ = ["LoopState"]


class LoopState(Shape):
    """`by` and `since` tell who paused or resumed dispatching last, and when; null when nobody ever did."""

    paused: bool
    by: str | None
    since: Instant | None
