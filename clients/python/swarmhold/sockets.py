"""WebSockets that reconnect until the server closes them for good."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Self

from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidHandshake, InvalidStatus, WebSocketException
from websockets.typing import Subprotocol

from swarmhold.errors import Disconnected
from swarmhold.models.frames import SUBPROTOCOL, CloseCode
from swarmhold.transport import Transport

log = logging.getLogger(__name__)

_FINAL_CODES = frozenset({CloseCode.UNAUTHENTICATED, CloseCode.FORBIDDEN, CloseCode.REPLACED})
_TRANSIENT_STATUSES = frozenset({408, 425, 429})
_TOO_BIG = 1009


class ReconnectingSocket:
    """One socket at a time, reopened with backoff whenever it breaks. Use it as an async context manager.

    `on_text` is called with every frame and must not block; `on_open` returns the frames to send first on each
    connection; `on_end` is called once, with the reason, when the connection has ended for good. Sending is best
    effort: what is lost with a connection is sent again by `on_open`, or delivered again by the server.
    """

    def __init__(
        self,
        transport: Transport,
        path: str,
        *,
        on_open: Callable[[], Sequence[str]],
        on_text: Callable[[str | bytes], None],
        on_end: Callable[[Disconnected], None],
        on_too_big: Callable[[], None],
    ) -> None:
        self._transport = transport
        self._url = _socket_url(transport, path)
        self._on_open = on_open
        self._on_text = on_text
        self._on_end = on_end
        self._on_too_big = on_too_big
        self._socket: ClientConnection | None = None
        self._running: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        self._running = asyncio.create_task(self._run(), name=f"socket {self._url}")
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._running is not None:
            self._running.cancel()
            with suppress(asyncio.CancelledError):
                await self._running

    async def send(self, text: str) -> None:
        """Send now if connected; otherwise, or if the connection breaks meanwhile, the frame is lost."""
        if self._socket is not None:
            with suppress(ConnectionClosed):
                await self._socket.send(text)

    async def _run(self) -> None:
        failures = 0
        while True:
            try:
                if await self._one_connection():
                    failures = 0
            except Disconnected as end:
                self._on_end(end)
                return
            failures += 1
            await self._transport.back_off(failures)

    async def _one_connection(self) -> bool:
        """Connect, read until it breaks, return whether anything was received. Raises Disconnected to end for good."""
        received = False
        try:
            async with connect(
                self._url,
                additional_headers=self._transport.authorization,
                subprotocols=[Subprotocol(SUBPROTOCOL)],
                max_size=None,
            ) as socket:
                self._socket = socket
                for text in self._on_open():
                    await socket.send(text)
                async for frame in socket:
                    received = True
                    self._on_text(frame)
                self._check_close(socket.close_code, socket.close_reason)
        except InvalidStatus as refusal:
            status = refusal.response.status_code
            if 400 <= status < 500 and status not in _TRANSIENT_STATUSES:
                raise Disconnected(status, refusal.response.reason_phrase) from refusal
        except ConnectionClosed as closed:
            code, reason = (closed.rcvd.code, closed.rcvd.reason) if closed.rcvd else (None, None)
            self._check_close(code, reason)
        except (OSError, TimeoutError, InvalidHandshake) as error:
            log.debug("socket broke off", extra={"url": self._url, "reason": str(error)})
        except (WebSocketException, ValueError) as error:
            # A URL or a proxy that no retry makes valid.
            raise Disconnected(0, str(error)) from error
        finally:
            self._socket = None
        return received

    def _check_close(self, code: int | None, reason: str | None) -> None:
        log.debug("socket closed", extra={"url": self._url, "close_code": code})
        if code in _FINAL_CODES:
            raise Disconnected(code or 0, reason or "")
        if code == _TOO_BIG:
            self._on_too_big()


def _socket_url(transport: Transport, path: str) -> str:
    base = transport.http.base_url
    scheme = "wss" if base.scheme == "https" else "ws"
    return f"{base.copy_with(scheme=scheme)!s}".rstrip("/") + path
