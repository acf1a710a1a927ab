"""Listings: all items of a paged route."""

from __future__ import annotations

from typing import TypeVar

from swarmhold.models.pages import Page
from swarmhold.transport import Params, Transport

Item = TypeVar("Item")


async def every_item(
    transport: Transport, path: str, page: type[Page[Item]], *, params: Params | None = None
) -> list[Item]:
    """The items of all pages. Cancelling is safe."""
    items: list[Item] = []
    cursor: str | None = None
    while True:
        reply = await transport.get(path, params={**(params or {}), "limit": 200, "cursor": cursor})
        slice_ = page.model_validate_json(reply.content)
        items += slice_.items
        cursor = slice_.next_cursor
        if cursor is None:
            return items
