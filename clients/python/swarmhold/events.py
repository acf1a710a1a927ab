"""Following the event feed over server-sent events, across restarts and broken connections."""

from __future__ import annotations

import codecs
import logging
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from dataclasses import dataclass

import httpx

from swarmhold.call_retry import TRANSIENT_STATUSES
from swarmhold.errors import ApiProblem
from swarmhold.models.events import LAGGED, Event, Lagged
from swarmhold.models.numbers import decode
from swarmhold.transport import Params, Transport

log = logging.getLogger(__name__)

_PATH = "/v1/operator/events"
# The server sends a comment every 15 seconds; three missed ones mean that nobody is there.
_TIMEOUT = httpx.Timeout(10.0, read=45.0)


async def follow(
    transport: Transport,
    *,
    after: int | str | None = None,
    last: int | None = None,
    types: Sequence[str] = (),
    task: str | None = None,
) -> AsyncGenerator[Event | Lagged]:
    """Yield events for ever: from the beginning with `after=0`, after a cursor, with the `last` few, or from now on.

    After a broken connection it resumes after the last event that it yielded, so that none is missed or seen twice;
    only before the first event of a feed without `after` is there nothing to resume from. `Lagged` is yielded when the
    reader fell behind; the feed goes on from there. Close the generator (`contextlib.aclosing`) or cancel the task to
    end it.

    Raises:
        ApiProblem: the server refuses the feed.
    """
    cursor: str | None = None
    failures = 0
    params: Params = {"after": after, "last": last, "types": ",".join(types) or None, "task": task}
    while True:
        try:
            async with aclosing(_one_connection(transport, params, cursor)) as messages:
                async for message in messages:
                    failures = 0
                    cursor = message.id or cursor
                    event = read_message(message)
                    if event is not None:
                        yield event
        except httpx.RequestError as error:
            log.debug("event feed broke off", extra={"reason": str(error)})
        except ApiProblem as problem:
            if problem.status not in TRANSIENT_STATUSES:
                raise
        failures += 1
        await transport.back_off(failures)


async def _one_connection(transport: Transport, params: Params, cursor: str | None) -> AsyncGenerator[Message]:
    headers = {**transport.authorization, "Accept": "text/event-stream"}
    query = {name: value for name, value in params.items() if value is not None}
    if cursor is not None:
        headers["Last-Event-ID"] = cursor
        query.pop("after", None)
        query.pop("last", None)
    async with transport.http.stream("GET", _PATH, params=query, headers=headers, timeout=_TIMEOUT) as reply:
        if reply.status_code != 200:
            await reply.aread()
            raise ApiProblem.of(reply)
        parser = SseParser()
        async for chunk in reply.aiter_bytes():
            for message in parser.feed(chunk):
                yield message


def read_message(message: Message) -> Event | Lagged | None:
    """Return the event of a message; None for one that this version does not know."""
    try:
        data = decode(message.data)
        if message.event == LAGGED:
            return Lagged.model_validate({"cursor": message.id, **data})
        return Event.model_validate({"cursor": message.id, "kind": message.event, **data})
    except (ValueError, TypeError, RecursionError):
        log.warning("unreadable event skipped", extra={"event_kind": message.event, "event_id": message.id})
        return None


@dataclass(frozen=True, slots=True)
class Message:
    """One dispatched event. `id` is the last id seen on the stream, which a reconnect sends back."""

    event: str
    data: str
    id: str | None


class SseParser:
    """Parses a stream of bytes, however they are split, into messages.

    Comments and messages without data are swallowed, as the standard has it.
    """

    def __init__(self) -> None:
        self._decode = codecs.getincrementaldecoder("utf-8-sig")(errors="replace").decode
        self._rest = ""
        self._event = ""
        self._data: list[str] = []
        self._id: str | None = None

    def feed(self, chunk: bytes) -> list[Message]:
        """Return the messages that `chunk` completes."""
        text = self._rest + self._decode(chunk)
        # A carriage return at the very end may be the first half of a CRLF.
        held = "\r" if text.endswith("\r") else ""
        lines = text.removesuffix(held).replace("\r\n", "\n").replace("\r", "\n").split("\n")
        self._rest = lines.pop() + held
        return [message for line in lines if (message := self._line(line)) is not None]

    def _line(self, line: str) -> Message | None:
        if not line:
            return self._dispatch()
        name, _, value = line.partition(":")
        value = value.removeprefix(" ")
        if name == "event":
            self._event = value
        elif name == "data":
            self._data.append(value)
        elif name == "id" and "\0" not in value:
            self._id = value
        return None

    def _dispatch(self) -> Message | None:
        event, data = self._event or "message", self._data
        self._event, self._data = "", []
        return Message(event, "\n".join(data), self._id) if data else None
