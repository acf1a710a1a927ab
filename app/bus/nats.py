"""Hints by NATS core: for clusters where its messages cost less than notifications by the database."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import suppress
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from app.bus.shared import LineLost

if TYPE_CHECKING:
    from nats.aio.msg import Msg

SUBJECT = "swarmhold.hints"
"""Subject of all hints, unless the URL has a path: then that follows, after a dot."""
CONNECT_TIMEOUT_S = 5


class NatsLink:
    """Connects to the NATS server at `url`; clusters that share a server have URLs with different paths."""

    limit_bytes = 256 * 1024

    def __init__(self, url: str) -> None:
        parts = urlsplit(url)
        self._url = parts._replace(path="").geturl()
        name = parts.path.strip("/").replace("/", ".")
        self._subject = f"{SUBJECT}.{name}" if name else SUBJECT

    async def connect(self, received: Callable[[str], None], lost: Callable[[str], None]) -> NatsLine:
        """Open a line: see `Link.connect`."""
        # Most servers use none: load the driver only where it is used.
        from nats.aio.client import Client
        from nats.errors import Error

        async def on_message(message: Msg) -> None:
            received(message.data.decode(errors="replace"))

        async def on_lost() -> None:
            lost("the connection to NATS is closed")

        async def on_error(error: Exception) -> None:
            del error  # it is followed by a disconnection, or concerns a single message

        client: Any = Client()  # its annotations are partial
        try:
            async with asyncio.timeout(2 * CONNECT_TIMEOUT_S):
                await client.connect(
                    self._url,
                    name="swarmhold",
                    connect_timeout=CONNECT_TIMEOUT_S,
                    allow_reconnect=False,
                    error_cb=on_error,
                    closed_cb=on_lost,
                    disconnected_cb=on_lost,
                )
                await client.subscribe(self._subject, cb=on_message)
                await client.flush(CONNECT_TIMEOUT_S)
        except (Error, OSError, TimeoutError, ValueError) as error:
            raise LineLost(f"NATS: {' '.join(str(error).split()) or 'it does not answer'}") from error
        return NatsLine(client, self._subject)


class NatsLine:
    """One connection to a NATS server."""

    def __init__(self, client: Any, subject: str) -> None:
        self._client = client
        self._subject = subject

    async def send(self, payload: str) -> None:
        """Publish to every node. Raises LineLost."""
        from nats.errors import Error

        try:
            await self._client.publish(self._subject, payload.encode())
        except (Error, OSError) as error:
            raise LineLost(f"NATS: {error}") from error

    def abort(self) -> None:
        """Do nothing: a `send` does not wait for the server."""

    async def close(self) -> None:
        """Disconnect."""
        with suppress(Exception):
            async with asyncio.timeout(1):
                await self._client.close()
