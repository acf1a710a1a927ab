"""Hints by PostgreSQL's NOTIFY, on a connection of its own."""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import Callable, Mapping
from contextlib import suppress

import psycopg
from psycopg import pq
from psycopg.conninfo import make_conninfo

from app.bus.shared import LineLost

CHANNEL = "swarmhold_hints"
"""Channels are those of one database, so that clusters in other databases have their own."""
CONNECT_TIMEOUT_S = 5
_BEGIN = f"SET synchronous_commit = off; LISTEN {CHANNEL}"
_NOTIFY = f"SELECT pg_notify('{CHANNEL}', $1)".encode()


class PostgresLink:
    """Connects to the database at `url`; `options` are further parameters of libpq, such as keepalives."""

    limit_bytes = 7_900
    """PostgreSQL takes payloads of fewer than 8,000 bytes."""

    def __init__(self, url: str, options: Mapping[str, int]) -> None:
        self._url = url
        self._options = dict(options)

    async def connect(self, received: Callable[[str], None], lost: Callable[[str], None]) -> PostgresLine:
        """Open a line: see `Link.connect`."""
        try:
            async with asyncio.timeout(2 * CONNECT_TIMEOUT_S):
                connection = await psycopg.AsyncConnection.connect(
                    make_conninfo(self._url, connect_timeout=CONNECT_TIMEOUT_S, **self._options),
                    autocommit=True,
                    application_name="swarmhold hints",
                )
                await connection.execute(_BEGIN.encode())
        except (psycopg.Error, TimeoutError) as error:
            raise LineLost(_line(error)) from error
        return PostgresLine(connection, received, lost)


class PostgresLine:
    """One connection that listens and notifies, driven through libpq: psycopg's calls take several times the CPU."""

    def __init__(
        self,
        connection: psycopg.AsyncConnection,
        received: Callable[[str], None],
        lost: Callable[[str], None],
    ) -> None:
        self._connection = connection
        self._driver = connection.pgconn
        self._received = received
        self._lost = lost
        self._sending: asyncio.Future[None] | None = None
        self._socket = socket.socket(fileno=os.dup(connection.fileno()))
        self._loop = asyncio.get_running_loop()
        self._loop.add_reader(self._socket, self._on_readable)

    async def send(self, payload: str) -> None:
        """Notify every node; one call at a time. Raises LineLost."""
        self._sending = self._loop.create_future()
        try:
            self._driver.send_query_params(_NOTIFY, [payload.encode()])
            if self._driver.flush():
                raise LineLost("PostgreSQL takes nothing more on the connection for hints")
            await self._sending
        except psycopg.Error as error:
            raise LineLost(_line(error)) from error
        finally:
            self._sending = None

    def abort(self) -> None:
        """Make a `send` that hangs raise, at once."""
        with suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)

    async def close(self) -> None:
        """Disconnect."""
        self._loop.remove_reader(self._socket)
        self.abort()
        self._socket.close()
        await self._connection.close()

    def _on_readable(self) -> None:
        """Take what has come: notifications, and the reply to a `send`."""
        try:
            self._driver.consume_input()
            while notify := self._driver.notifies():
                self._received(notify.extra.decode(errors="replace"))
            if self._sending is not None:
                self._take_reply(self._sending)
        except psycopg.Error as error:
            self._loop.remove_reader(self._socket)
            self._lost(_line(error))
            if self._sending is not None and not self._sending.done():
                self._sending.set_exception(LineLost(_line(error)))

    def _take_reply(self, sending: asyncio.Future[None]) -> None:
        """Take the results of a statement that are there, the last of which ends the `send`. Raises psycopg.Error."""
        while not self._driver.is_busy():
            result = self._driver.get_result()
            if result is None:
                if not sending.done():
                    sending.set_result(None)
                return
            if result.status != pq.ExecStatus.TUPLES_OK:
                raise psycopg.OperationalError(result.error_message.decode(errors="replace"))


def _line(error: Exception) -> str:
    """Return what the driver says, on one line."""
    return " ".join(str(error).split()) or "it does not answer"
