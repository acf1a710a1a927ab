"""The base of every group of calls: a transport, a prefix of paths, and models to read replies with."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import ClassVar, TypeVar

import httpx
from pydantic import ValidationError

from swarmhold.errors import InvalidReply
from swarmhold.models.numbers import decode
from swarmhold.models.shapes import Page, WireModel
from swarmhold.transport import Params, Transport

Model = TypeVar("Model", bound=WireModel)
Item = TypeVar("Item")


def read(model: type[Model], reply: httpx.Response) -> Model:
    """Return the model of a reply's body.

    Raises:
        InvalidReply: the body is no such model.
    """
    try:
        return model.model_validate(decode(reply.content))
    except ValidationError as error:
        [first, *_] = error.errors(include_url=False, include_context=False, include_input=False)
        reason = f"{'.'.join(map(str, first['loc'])) or 'the body'}: {first['msg']}"
        raise InvalidReply(reply.request.method, reply.request.url.path, reason) from error
    except ValueError as error:
        raise InvalidReply(reply.request.method, reply.request.url.path, f"the body: {error}") from error


class Calls:
    """The calls of one credential. Safe to use from many coroutines of one event loop."""

    _prefix: ClassVar[str] = "/v1/operator"

    def __init__(self, transport: Transport) -> None:
        self._transport = transport

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self._transport!r})"

    async def _pages(
        self,
        path: str,
        page: type[Page[Item]],
        params: Params | None = None,
        *,
        cursor_name: str = "cursor",
        after: int | None = None,
    ) -> AsyncIterator[Item]:
        """Yield the items of every page of a listing. Cancelling is safe."""
        cursor = None if after is None else str(after)
        while True:
            reply = await self._transport.get(path, params={**(params or {}), cursor_name: cursor})
            found = read(page, reply)
            for item in found.items:
                yield item
            cursor = found.next_cursor
            if cursor is None:
                return

    async def _all(self, path: str, page: type[Page[Item]], params: Params | None = None) -> list[Item]:
        """Return the items of every page of a listing. Cancelling is safe."""
        return [item async for item in self._pages(path, page, params)]

    async def _read_at(self, model: type[Model], path: str) -> Model:
        """Return what a path shows, read with one call."""
        return read(model, await self._transport.get(path))
