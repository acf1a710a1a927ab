"""Counts of the whole server. What is counted may grow; only the container is fixed."""

from __future__ import annotations

from pydantic import Field

from swarmhold.models.shapes import Shape

__all__ = ["Stats"]


class Stats(Shape):
    """Tasks per status, and whatever else the server counts as extra fields."""

    tasks: dict[str, int] = Field(default_factory=dict)
