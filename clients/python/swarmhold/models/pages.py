"""Pages: one slice of a listing and where the next begins."""

from __future__ import annotations

from typing import Generic, TypeVar

from swarmhold.models.shapes import Shape

__all__ = ["Page"]

Item = TypeVar("Item")


class Page(Shape, Generic[Item]):
    """`next_cursor` is null on the last page; else it is handed back as `cursor`."""

    items: list[Item]
    next_cursor: str | None = None
