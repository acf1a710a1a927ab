"""The loop: whether new attempts start."""

from __future__ import annotations

from app.wire.instants import Instant
from app.wire.shapes import Shape

__all__ = ["LoopState"]


class LoopState(Shape):
    """`by` and `since` tell who paused it and when; null while it runs."""

    paused: bool
    by: str | None
    since: Instant | None
