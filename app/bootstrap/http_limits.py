"""Limits of an unauthenticated HTTP connection: the size of a request's head, and the time that it may take.

Without them uvicorn accepts a head of any length and waits forever for its end.
"""

from __future__ import annotations

import asyncio
from typing import Any

from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol, RequestResponseCycle

from app.http.errors import HeaderTooLarge, HttpError, MalformedRequest, RequestTooSlow
from app.http.holds import HALF_CLOSED
from app.http.problems import problem_of
from swarmhold.models.problems import PROBLEM_MEDIA_TYPE

HEAD_LIMIT = 64 * 1024
"""Bytes of a request line and its headers, of a body's trailers, and of anything else outside a body."""


class LimitedHttpProtocol(HttpToolsProtocol):
    """uvicorn's HTTP protocol, where a head, and each piece of a body, has to arrive within `timeout_keep_alive`."""

    _unparsed = 0
    """Bytes that arrived since the parser last reported something."""
    _between_requests = True
    _progress_at = 0.0
    _timer: asyncio.TimerHandle | None = None
    _running: RequestResponseCycle | None = None
    """The request that is being answered; `cycle` is the one that arrived last."""
    _half_closed = False

    def connection_made(self, transport: asyncio.Transport) -> None:
        """Start the timer for the first head."""
        super().connection_made(transport)
        self._progress_at = self.loop.time()
        self._start_timer(self.timeout_keep_alive)

    def connection_lost(self, exc: Exception | None) -> None:
        """Stop the timer."""
        self._stop_timer()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Parse what arrived, and start or stop the timer, depending on whether a request is incomplete."""
        self._unparsed += len(data)
        super().data_received(data)
        if self._between_requests and not self._unparsed:
            if self._timer is not None:
                self._stop_timer()
            return
        if self._unparsed > HEAD_LIMIT:
            self._close(HeaderTooLarge(HEAD_LIMIT))
        elif not self.transport.is_closing():
            if not self._unparsed:
                self._progress_at = self.loop.time()
            if self._timer is None:
                self._progress_at = self.loop.time()
                self._start_timer(self.timeout_keep_alive)

    def eof_received(self) -> bool:  # pyright: ignore[reportIncompatibleMethodOverride] - asyncio's contract
        """Keep a half-closed connection for the replies to the requests that arrived whole."""
        cycle = self.cycle
        if not cycle or cycle.response_complete or cycle.more_body:
            # What was written last may still wait in the transport's own buffer, which closing it sends.
            self.transport.close()
            return True
        cycle.keep_alive = False
        self._half_closed = True
        if self._running is not None:
            self._running.scope[HALF_CLOSED] = True  # pyright: ignore[reportGeneralTypeIssues] - a key of our own
            self._running.message_event.set()
        return True

    def _start_asgi_task(self, cycle: RequestResponseCycle, app: Any) -> None:
        self._running = cycle
        if self._half_closed:
            cycle.scope[HALF_CLOSED] = True  # pyright: ignore[reportGeneralTypeIssues] - a key of our own
        super()._start_asgi_task(cycle, app)

    def handle_websocket_upgrade(self) -> None:
        """Stop the timer: the WebSocket protocol takes the connection over."""
        self._unparsed, self._between_requests = 0, True
        self._stop_timer()
        super().handle_websocket_upgrade()

    def on_message_begin(self) -> None:
        """Note that a request began."""
        self._between_requests = False
        super().on_message_begin()

    def on_headers_complete(self) -> None:
        """Restart the count of bytes: the body has a limit of its own."""
        self._unparsed = 0
        super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        """Restart the count of bytes: a piece of the body was parsed."""
        self._unparsed = 0
        super().on_body(body)

    def on_message_complete(self) -> None:
        """Note that the request is complete."""
        self._unparsed, self._between_requests = 0, True
        super().on_message_complete()

    def send_400_response(self, msg: str) -> None:
        """Reply to bytes that are not HTTP with an error, and close the connection."""
        del msg
        self._unparsed, self._between_requests = 0, True
        self._close(MalformedRequest())

    def _start_timer(self, seconds: float) -> None:
        self._timer = self.loop.call_later(seconds, self._check_progress)

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _check_progress(self) -> None:
        """Close a connection that made no progress for too long, unless this end has paused reading."""
        self._timer = None
        left_s = self._progress_at + self.timeout_keep_alive - self.loop.time()
        if self.flow.read_paused:
            self._start_timer(self.timeout_keep_alive)
        elif left_s > 0:
            self._start_timer(left_s)
        elif self._between_requests:
            self.transport.close()
        else:
            self._close(RequestTooSlow())

    def _close(self, error: HttpError) -> None:
        """Close the connection, with an error response unless another response is under way."""
        self._stop_timer()
        if self.transport.is_closing():
            return
        if not self.cycle or self.cycle.response_complete:
            self.transport.write(_response(error))
        self.transport.close()


def _response(error: HttpError) -> bytes:
    problem = problem_of(error)
    body = problem.reply().body
    lines = (b"content-type: %s", b"content-length: %d", b"connection: close", b"")
    head = b"\r\n".join(lines) % (PROBLEM_MEDIA_TYPE.encode(), len(body))
    return STATUS_LINE[problem.status] + head + b"\r\n" + bytes(body)
