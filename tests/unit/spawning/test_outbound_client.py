"""Calls that the server makes end in bounded time and memory, whatever the other side sends."""

import asyncio
import gzip
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress

import httpx
import pytest

from app.domain.events import Event
from app.domain.json import Json
from app.domain.webhooks import Webhook
from app.spawning.adapters.http import HttpWorkers
from app.spawning.outbound.client import CallFailed, OutboundClient, Timeouts
from app.spawning.outbound.settings import HttpWorkerSettings, SenderSettings
from app.spawning.outbound.webhooks import DeliveryFailed, WebhookSender
from app.spawning.ports import SpawnFailed
from tests.support.control import RecordedControl, job
from tests.support.rows import blank

LIMIT = 1_000
EVENT = Event(
    cursor=1, kind="task_created", at=0, task_id=None, session_id=None, attempt=None, data=Json("{}"), namespace=1
)
OK = b"HTTP/1.1 200 OK\r\n"

Behaviour = Callable[[asyncio.StreamWriter], Awaitable[None]]


async def _gone(writer: asyncio.StreamWriter) -> None:
    """Wait until the client hangs up, a moment at most."""
    with suppress(TimeoutError):
        async with asyncio.timeout(0.02):
            await writer.wait_closed()


async def drip(writer: asyncio.StreamWriter) -> None:
    """Send a byte of the reply now and then, for as long as somebody reads."""
    writer.write(OK + b"Content-Length: 1000000\r\n\r\n")
    while True:
        writer.write(b"x")
        await writer.drain()
        await _gone(writer)


async def drip_head(writer: asyncio.StreamWriter) -> None:
    """Send a header's value a byte at a time."""
    writer.write(OK + b"X-Long: ")
    while True:
        writer.write(b"x")
        await writer.drain()
        await _gone(writer)


def sending(reply: bytes) -> Behaviour:
    """Return a behaviour that sends one whole reply."""

    async def send(writer: asyncio.StreamWriter) -> None:
        writer.write(reply)
        await writer.drain()

    return send


def compressed(encoding: str) -> bytes:
    """Return a small reply that decodes to a large one."""
    body = gzip.compress(gzip.compress(b"\0" * 10_000_000))
    head = f"Content-Encoding: {encoding}\r\nContent-Length: {len(body)}\r\n\r\n"
    return OK + head.encode() + body


@asynccontextmanager
async def serving(behave: Behaviour) -> AsyncIterator[str]:
    """Serve on a free port; yields the URL."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(ConnectionError, asyncio.IncompleteReadError):
            await reader.readuntil(b"\r\n\r\n")
            await behave(writer)
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with server:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"


@asynccontextmanager
async def calling(*, total_s: float = 0.3) -> AsyncIterator[OutboundClient]:
    """A client that waits long for each piece of a reply and `total_s` for the whole."""
    client = OutboundClient(Timeouts(30.0, total_s))
    yield client
    await client.aclose()


@pytest.mark.parametrize("behave", [drip, drip_head])
async def test_a_reply_that_never_ends_is_given_up(behave: Behaviour) -> None:
    """Each piece comes in time, the whole does not: the call fails by its total time."""
    async with serving(behave) as url, calling() as client, asyncio.timeout(30):
        with pytest.raises(CallFailed, match=r"no whole reply came within 0\.3 s"):
            await client.post(httpx.URL(url), b"{}", {}, limit=10**9)


@pytest.mark.parametrize("encoding", ["gzip", "gzip, gzip", "deflate", "br", "GZIP"])
async def test_a_compressed_reply_is_refused_undecoded(encoding: str) -> None:
    """Nothing asked for compression; a few hundred bytes must not become gigabytes."""
    async with serving(sending(compressed(encoding))) as url, calling(total_s=30) as client:
        with pytest.raises(CallFailed, match="compressed"):
            await client.post(httpx.URL(url), b"{}", {}, limit=LIMIT)


async def test_a_long_body_is_cut_at_the_limit() -> None:
    """The reply comes with what was read, and says that it is not whole."""
    body = b"x" * 5_000
    async with serving(sending(OK + b"Content-Length: 5000\r\n\r\n" + body)) as url, calling(total_s=30) as client:
        reply = await client.post(httpx.URL(url), b"{}", {}, limit=LIMIT)
    assert (reply.status, len(reply.body), reply.whole) == (200, LIMIT, False)


async def test_a_host_that_no_resolver_takes_fails_the_call_alone() -> None:
    """An overlong label is a failed call like any other."""
    async with calling(total_s=30) as client:
        with pytest.raises(CallFailed):
            await client.post(httpx.URL(f"http://{'a' * 64}.example/"), b"{}", {}, limit=LIMIT)


async def test_an_http_worker_that_drips_keeps_no_attempt_in_its_start() -> None:
    """The spawn fails and says why."""
    async with serving(drip) as url, asyncio.timeout(30):
        workers = HttpWorkers(HttpWorkerSettings(allow=(url,), secrets=(b"s" * 32,), total_timeout_s=0.2, tries=1))
        with pytest.raises(SpawnFailed, match="no whole reply"):
            await workers.build({"kind": "http", "url": url}).spawn(job("Do it."), RecordedControl())
        await workers.aclose()


async def test_a_webhook_that_drips_fails_its_delivery() -> None:
    """The delivery counts as failed, so that it is tried again later."""
    async with serving(drip_head) as url, asyncio.timeout(30):
        sender = WebhookSender(SenderSettings(allow=(url,), total_timeout_s=0.2))
        with pytest.raises(DeliveryFailed, match="no whole reply"):
            await sender.send(blank(Webhook)._replace(id="H-1", url=url), ["s" * 32], [EVENT], str)
        await sender.aclose()
