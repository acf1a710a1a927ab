"""A cheap load generator: prepared requests over keep-alive connections, replies parsed for status and length only."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Coroutine, Iterator
from dataclasses import dataclass, field
from typing import Any, TypeVar, cast
from urllib.parse import urlsplit

import uvloop

Request = bytes
Reply = tuple[int, bytes]
R = TypeVar("R")


def request(
    method: str, path: str, credential: str, body: bytes | None = None, kind: str = "application/json"
) -> bytes:
    """Return one HTTP/1.1 request as bytes."""
    head = f"{method} {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: Bearer {credential}\r\n"
    if body is None:
        return head.encode() + b"\r\n"
    return f"{head}Content-Type: {kind}\r\nContent-Length: {len(body)}\r\n\r\n".encode() + body


class Connection(asyncio.Protocol):
    """One keep-alive connection with one request at a time."""

    def __init__(self) -> None:
        self._transport: asyncio.Transport | None = None
        self._buffer = bytearray()
        self._whole = 0
        self._waiter: asyncio.Future[Reply] | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Store the transport."""
        self._transport = cast(asyncio.Transport, transport)

    def connection_lost(self, exc: Exception | None) -> None:
        """Fail the pending request."""
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_exception(exc or ConnectionResetError("closed by the server"))

    def data_received(self, data: bytes) -> None:
        """Buffer data until a reply is complete."""
        self._buffer += data
        if len(self._buffer) < self._whole:
            return
        end = self._buffer.find(b"\r\n\r\n", 0, 8192)
        if end < 0:
            return
        head = bytes(self._buffer[:end]).lower()
        mark = head.find(b"content-length:")
        length = int(head[mark + 15 :].partition(b"\r")[0]) if mark >= 0 else 0
        self._whole = end + 4 + length
        if len(self._buffer) < self._whole:
            return
        reply = int(head[9:12]), bytes(self._buffer[end + 4 :])
        self._buffer, self._whole = bytearray(), 0
        waiter, self._waiter = self._waiter, None
        if waiter is not None and not waiter.done():
            waiter.set_result(reply)

    def send(self, data: Request) -> asyncio.Future[Reply]:
        """Send a request and return a future of its reply."""
        if self._transport is None:
            raise ConnectionError("not connected")
        self._waiter = asyncio.get_running_loop().create_future()
        self._transport.write(data)
        return self._waiter

    def close(self) -> None:
        """Close the connection."""
        if self._transport is not None:
            self._transport.close()


async def connect(base_url: str, source: str | None = None) -> Connection:
    """Open a connection to the server, from this address of the machine if one is given."""
    parts = urlsplit(base_url)
    _, protocol = await asyncio.get_running_loop().create_connection(
        Connection, parts.hostname or "127.0.0.1", parts.port or 80, local_addr=(source, 0) if source else None
    )
    return protocol


@dataclass
class Run:
    """The results of a run. Latencies in seconds."""

    count: int = 0
    seconds: float = 0.0
    wrong: dict[int, int] = field(default_factory=dict[int, int])
    latencies: list[float] = field(default_factory=list[float])

    @property
    def rate(self) -> float:
        """Return the replies per second."""
        return self.count / self.seconds if self.seconds else 0.0

    def percentile(self, share: float) -> float:
        """Return the latency at this percentile (0 … 1), in milliseconds."""
        ordered = sorted(self.latencies)
        return 1000 * ordered[min(len(ordered) - 1, int(share * len(ordered)))] if ordered else 0.0


async def drive(base_url: str, requests: Iterator[Request], *, connections: int, expect: int, seconds: float) -> Run:
    """Send requests over all connections until the requests or the seconds are used up."""
    run = Run()
    lines = [await connect(base_url) for _ in range(connections)]
    begin = time.perf_counter()
    end = begin + seconds

    async def pump(line: Connection) -> None:
        for data in requests:
            sent = time.perf_counter()
            status, _ = await line.send(data)
            now = time.perf_counter()
            run.latencies.append(now - sent)
            run.count += 1
            if status != expect:
                run.wrong[status] = run.wrong.get(status, 0) + 1
            if now > end:
                return

    await asyncio.gather(*(pump(line) for line in lines))
    run.seconds = time.perf_counter() - begin
    for line in lines:
        line.close()
    return run


def run_async(main: Callable[[], Coroutine[Any, Any, R]]) -> R:
    """Run a coroutine function on uvloop."""
    return uvloop.run(main())
