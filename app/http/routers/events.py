"""The event feed as server-sent events (WHATWG HTML, section 9.2)."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping

import orjson
from starlette.requests import ClientDisconnect, Request
from starlette.types import Receive, Scope, Send

from app.domain.access import Caller, Verb
from app.domain.errors import InvalidRequest
from app.domain.events import Event, EventKind, Lagged
from app.domain.json import encode
from app.domain.tokens import Bearer
from app.engine.feed import EventStream
from app.http import auth, bodies
from app.http.context import ServerContext, context_of
from app.http.holds import Drained, until_first
from app.http.parameters import (
    AFTER,
    LAST,
    LAST_EVENT_ID,
    TASK,
    TYPES,
    checked_task_id,
    integer_of,
    listed_in,
    query_of,
)
from app.http.replies import Reply
from app.http.routes import documented, plain_router, requires
from swarmhold.models.events import LAGGED

router = plain_router("/v1/operator", "operator")

_HEADERS = [
    (b"content-type", b"text/event-stream; charset=utf-8"),
    (b"cache-control", b"no-store"),
    # Tell proxies not to buffer the stream.
    (b"x-accel-buffering", b"no"),
    (b"x-content-type-options", b"nosniff"),
]
_HELLO = b"retry: 2000\n: swarmhold events\n\n"
_COMMENT = b": still here\n\n"
_DOUBTED_COMMENT_EVERY_S = 1.0
"""Comments to a client that has closed its sending side: whether it is gone shows when they are sent."""
MOST_LAST = 1000
_STREAM = {
    "description": "Server-sent events. `event` is the kind, `id` the cursor, `data` the event as JSON; `lagged` has "
    "the cursor at which a reader that was too slow goes on.",
    "properties": {
        "event": {"type": "string"},
        "id": {"type": "string", "pattern": "^[0-9]+$"},
        "data": {
            "type": "string",
            "contentMediaType": "application/json",
            "contentSchema": {"$ref": "#/components/schemas/Event"},
        },
    },
}
_KINDS = frozenset(kind.value for kind in EventKind)


@router.get(
    "/events",
    openapi_extra=requires(Verb.SUBSCRIBE_EVENTS)
    | documented(parameters=(AFTER, LAST, TYPES, TASK, LAST_EVENT_ID), reply={"text/event-stream": _STREAM}),
)
async def events(request: Request) -> Reply:
    """Follow the feed: live, from a cursor, or with the latest events first. Ends when the credential expires."""
    context, scope = context_of(request), request.scope
    bearer = auth.bearer(scope)
    query = query_of(scope)
    after, last = _start(bodies.header(scope, b"last-event-id"), query)
    kinds = _kinds(listed_in(scope, "types"))
    task_id = checked_task_id(query["task"], "task") if "task" in query else None
    caller = await context.engine.credentials.authorize(bearer, Verb.SUBSCRIBE_EVENTS)
    if last is not None:
        after = await context.engine.feed.back(last, caller.namespace)
    stream = context.engine.feed.follow(after=after, kinds=kinds, task_id=task_id, namespace=caller.namespace)
    return EventsReply(context, bearer, caller, stream)


def _start(last_event_id: str | None, query: Mapping[str, str]) -> tuple[int | None, int | None]:
    """Return the cursor after which to begin, or how many of the latest events to begin with. Raises InvalidRequest."""
    after, last = integer_of(query.get("after"), "after"), integer_of(query.get("last"), "last")
    if last is not None and last > MOST_LAST:
        raise InvalidRequest(f"at most {MOST_LAST} of the latest events", "last")
    if last_event_id:
        after = integer_of(last_event_id, "Last-Event-ID")
    return (None, last) if after is None else (after, None)


def _kinds(names: list[str]) -> frozenset[str] | None:
    """Return the requested kinds, None for all. Raises InvalidRequest."""
    if not names:
        return None
    kinds = frozenset(names)
    if unknown := sorted(kinds - _KINDS):
        raise InvalidRequest(
            f"no such kind: {', '.join(unknown)[:200]}; there are {', '.join(sorted(_KINDS))}", "types"
        )
    return kinds


class EventsReply(Reply):
    """A streaming reply that ends when the client disconnects, the credential expires, or the server shuts down."""

    def __init__(self, context: ServerContext, bearer: Bearer, caller: Caller, stream: EventStream) -> None:
        super().__init__(200, b"", list(_HEADERS))
        self._context = context
        self._bearer = bearer
        self._caller = caller
        self._stream = stream
        self._comment_every_s = context.settings.sse_comment_every.total_seconds()
        self._patience: asyncio.Timeout | None = None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send events as they come. A slow client delays only itself: the feed buffers one page for each.

        Raises QuotaExceeded before anything is sent.
        """
        has_left = False
        self._context.connected.opened(self._caller)
        try:
            with self._context.holds.streams.take(self._bearer.text):
                await self._stream.open()
                await send({"type": "http.response.start", "status": 200, "headers": self.raw_headers})
                if scope["method"] == "HEAD":
                    await send({"type": "http.response.body", "body": b""})
                    return
                await send({"type": "http.response.body", "body": _HELLO, "more_body": True})
                await self._context.holds.park(receive, self._pump(send), scope, half_closed=self._doubt)
                await send({"type": "http.response.body", "body": b""})
        except Drained:
            await send({"type": "http.response.body", "body": b""})
        except ClientDisconnect:
            has_left = True
        finally:
            await self._stream.aclose()
            await self._context.connected.closed(self._caller, by_client=has_left)

    async def _pump(self, send: Send) -> None:
        """Send until the feed ends or the credential is no longer valid."""
        poll_interval_s = self._context.settings.sse_recheck.total_seconds()
        until_invalid = self._context.engine.credentials.wait_until_invalid
        await until_first(self._follow(send), until_invalid(self._bearer, poll_interval_s=poll_interval_s))

    async def _follow(self, send: Send) -> None:
        while (body := await self._next()) is not None:
            await send({"type": "http.response.body", "body": body, "more_body": True})

    def _doubt(self) -> None:
        """The client sends no more, and may be gone: send comments soon, of which the second fails if it is."""
        self._comment_every_s = min(self._comment_every_s, _DOUBTED_COMMENT_EVERY_S)
        if self._patience is not None and not self._patience.expired():
            self._patience.reschedule(asyncio.get_running_loop().time())

    async def _next(self) -> bytes | None:
        try:
            async with asyncio.timeout(self._comment_every_s) as self._patience:
                return _message(self._context, await anext(self._stream))
        except TimeoutError:
            return _COMMENT
        except StopAsyncIteration:
            return None
        finally:
            self._patience = None


def _message(context: ServerContext, item: Event | Lagged) -> bytes:
    if isinstance(item, Lagged):
        data = orjson.dumps({"cursor": item.cursor})
        return b"id: %d\nevent: %s\ndata: %s\n\n" % (item.cursor, LAGGED.encode(), data)
    return b"id: %d\nevent: %s\ndata: %s\n\n" % (
        item.cursor,
        item.kind.encode(),
        encode(item.document(context.names(item.namespace))),
    )
