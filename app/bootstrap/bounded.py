"""HTTP connections that cost little whoever opens them: a request's head is bounded, and nobody may dawdle.

The server library takes a head of any length and waits for its end for ever, before anything is known of who sends it.
"""

from __future__ import annotations

import asyncio

from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol

from app.http.errors import HeaderTooLarge, HttpError, MalformedRequest, RequestTooSlow
from app.http.problems import problem_of
from swarmhold.models.problems import PROBLEM_MEDIA_TYPE

HEAD_LIMIT = 64 * 1024
"""Bytes of a request line with its header lines, of a body's trailer lines, and of whatever else is no body."""


class BoundedHttpProtocol(HttpToolsProtocol):
    """The server library's HTTP protocol; a head, and each piece of a body, comes within `timeout_keep_alive`."""

    _unclaimed = 0
    """Bytes that came since the last of which something was made."""
    _whole = True
    """Whether no request is in the middle of its arrival."""
    _heard_at = 0.0
    _patience: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:
        """Connected: the first head is waited for."""
        super().connection_made(transport)
        self._heard_at = self.loop.time()
        self._wait(self.timeout_keep_alive)

    def connection_lost(self, exc: Exception | None) -> None:
        """Over: nothing is waited for any more."""
        self._wait_no_more()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """More came: what is whole is answered, what is not has to go on soon, and not for ever."""
        self._unclaimed += len(data)
        super().data_received(data)
        if self._whole and not self._unclaimed:
            if self._patience is not None:
                self._wait_no_more()
            return
        if self._unclaimed > HEAD_LIMIT:
            self._end(HeaderTooLarge(HEAD_LIMIT))
        elif not self.transport.is_closing():
            if not self._unclaimed:
                self._heard_at = self.loop.time()
            if self._patience is None:
                self._heard_at = self.loop.time()
                self._wait(self.timeout_keep_alive)

    def handle_websocket_upgrade(self) -> None:
        """The connection is another protocol's from now on."""
        self._unclaimed, self._whole = 0, True
        self._wait_no_more()
        super().handle_websocket_upgrade()

    def on_message_begin(self) -> None:
        """The first byte of a request."""
        self._whole = False
        super().on_message_begin()

    def on_headers_complete(self) -> None:
        """A head is whole."""
        self._unclaimed = 0
        super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        """A piece of a body."""
        self._unclaimed = 0
        super().on_body(body)

    def on_message_complete(self) -> None:
        """A request is whole."""
        self._unclaimed, self._whole = 0, True
        super().on_message_complete()

    def send_400_response(self, msg: str) -> None:
        """Refuse what is no HTTP."""
        del msg
        self._unclaimed, self._whole = 0, True
        self._end(MalformedRequest())

    def _wait(self, seconds: float) -> None:
        self._patience = self.loop.call_later(seconds, self._look)

    def _wait_no_more(self) -> None:
        if self._patience is not None:
            self._patience.cancel()
            self._patience = None

    def _look(self) -> None:
        """Whether it took too long. While this end does not read, the other is not to blame."""
        self._patience = None
        left_s = self._heard_at + self.timeout_keep_alive - self.loop.time()
        if self.flow.read_paused:
            self._wait(self.timeout_keep_alive)
        elif left_s > 0:
            self._wait(left_s)
        elif self._whole:
            self.transport.close()
        else:
            self._end(RequestTooSlow())

    def _end(self, error: HttpError) -> None:
        """Close, and say why unless a reply is under way or this was said already."""
        self._wait_no_more()
        if self.transport.is_closing():
            return
        if not self.cycle or self.cycle.response_complete:
            self.transport.write(_rendered(error))
        self.transport.close()


def _rendered(error: HttpError) -> bytes:
    problem = problem_of(error)
    body = problem.reply().body
    lines = (b"content-type: %s", b"content-length: %d", b"connection: close", b"")
    head = b"\r\n".join(lines) % (PROBLEM_MEDIA_TYPE.encode(), len(body))
    return STATUS_LINE[problem.status] + head + b"\r\n" + bytes(body)
