"""Events: one durable feed, followed over server-sent events."""

from __future__ import annotations

from swarmhold.models.instants import Instant
from swarmhold.models.shapes import Shape

__all__ = ["LAGGED", "Event", "Lagged"]

LAGGED = "lagged"
"""The name of the SSE event that a reader gets which fell behind."""


class Event(Shape):
    """One thing that happened; further fields depend on `kind`.

    `cursor` is opaque but for its order, and is what `after` and `Last-Event-ID` take.
    """

    cursor: int | str
    kind: str
    at: Instant
    namespace: str | None = None
    task_id: str | None = None
    session_id: str | None = None
    attempt: int | None = None


class Lagged(Shape):
    """The reader fell behind; it goes on after `cursor` and has missed nothing but what retention has removed."""

    cursor: int | str
