"""Connections that send no whole request, on a real socket: what they may cost, and when they are let go."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from typing import Any

import orjson
import pytest
import uvicorn

from app.bootstrap.http_limits import HEAD_LIMIT
from app.bootstrap.http_writes import BatchingHttpProtocol
from tests.support.ports import LOOPBACK

PATIENCE_S = 2
"""What the server under test has of it."""
SOON_S = 60.0


async def echo(scope: dict[str, Any], receive: Any, send: Any) -> None:
    """Answers with the size of the body, once it is whole."""
    size, more = 0, True
    while more:
        message = await receive()
        if message["type"] == "http.disconnect":
            return
        size, more = size + len(message.get("body", b"")), message.get("more_body", False)
    body = b"%d" % size
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"%d" % len(body))]})
    await send({"type": "http.response.body", "body": body})


@pytest.fixture
async def port() -> AsyncIterator[int]:
    """Where connections are made."""
    config = uvicorn.Config(echo, timeout_keep_alive=PATIENCE_S, lifespan="off", log_config=None)
    config.load()
    state = uvicorn.Server(config).server_state
    server = await asyncio.get_running_loop().create_server(
        lambda: BatchingHttpProtocol(config=config, server_state=state, app_state={}), LOOPBACK, 0
    )
    async with server:
        yield server.sockets[0].getsockname()[1]


@contextlib.asynccontextmanager
async def connected(port: int) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    """A connection, closed afterwards."""
    reader, writer = await asyncio.open_connection(LOOPBACK, port)
    try:
        async with asyncio.timeout(SOON_S):
            yield reader, writer
    finally:
        writer.close()


async def reply_to(port: int, *pieces: bytes) -> tuple[int, bytes]:
    """Status and body of what is answered before the connection is closed; 0 when nothing is."""
    async with connected(port) as (reader, writer):
        for piece in pieces:
            writer.write(piece)
        head, _, body = (await reader.read()).partition(b"\r\n\r\n")
    return int(head.split()[1]) if head else 0, body


START = b"POST / HTTP/1.1\r\nHost: a\r\n"


@pytest.mark.parametrize(
    "endless",
    [
        (b"GET /" + b"a" * HEAD_LIMIT * 8,),
        (START, b"X: " + b"a" * HEAD_LIMIT * 8),
        (START, b"X: a\r\n" * (HEAD_LIMIT // 2)),
        (START, b"Content-Length: 1\r\n\r\na", START, b"X: a\r\n" * (HEAD_LIMIT // 2)),
    ],
    ids=["path", "line", "lines", "second request"],
)
async def test_a_head_without_end_is_refused_with_the_limit(port: int, endless: tuple[bytes, ...]) -> None:
    """An unfinished head is not buffered beyond the limit, which the error names."""
    try:
        status, body = await reply_to(port, *endless)
    except ConnectionResetError:  # closed with more on its way, which may overtake what was said
        return

    problem = body.rpartition(b"\r\n\r\n")[2] or body
    assert status in (431, 200)
    assert str(HEAD_LIMIT).encode() in problem


async def test_trailers_without_end_close_the_connection(port: int) -> None:
    """What follows a body is bounded as well; its request is under way, so that nothing can be said."""
    head = START + b"Transfer-Encoding: chunked\r\n\r\n1\r\na\r\n0\r\n"
    with contextlib.suppress(ConnectionResetError):
        assert await reply_to(port, head, b"X: a\r\n" * HEAD_LIMIT) == (0, b"")


async def test_a_large_head_and_a_large_body_are_taken(port: int) -> None:
    """The limit is the head's alone, and leaves room for every header that there is."""
    size = 20 * HEAD_LIMIT
    line = b"X: " + b"a" * (HEAD_LIMIT // 2) + b"\r\n"
    whole = START + line + b"Connection: close\r\nContent-Length: %d\r\n\r\n" % size

    assert await reply_to(port, whole + b"b" * size) == (200, b"%d" % size)


@pytest.mark.parametrize(
    ("begun", "status"),
    [
        (b"", 0),
        (b"GET", 408),
        (START + b"X: ", 408),
        (START + b"Content-Length: 5\r\n\r\nabc", 0),
        (START + b"Transfer-Encoding: chunked\r\n\r\n1\r\na\r\n", 0),
    ],
    ids=["nothing", "a method", "half a head", "half a body", "a chunk"],
)
async def test_who_dawdles_is_let_go(port: int, begun: bytes, status: int) -> None:
    """A connection that says nothing, or stops in the middle of a request, is closed after a while."""
    answered, body = await reply_to(port, begun)

    assert answered == status
    assert not body or orjson.loads(body)["code"] == "request-too-slow"


async def test_a_head_that_trickles_is_let_go(port: int) -> None:
    """More bytes of the same head earn no more time."""
    async with connected(port) as (reader, writer):
        writer.write(START)
        while not reader.at_eof():
            writer.write(b"X: a\r\n")
            with contextlib.suppress(TimeoutError):
                assert b" 408 " in await asyncio.wait_for(reader.readline(), PATIENCE_S / 10)
                return
    pytest.fail("it was closed without a word")


async def test_a_body_that_comes_slowly_is_waited_for(port: int) -> None:
    """Each piece earns time for the next one."""
    async with connected(port) as (reader, writer):
        writer.write(START + b"Content-Length: 6\r\n\r\n")
        for letter in b"abcdef":
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(reader.read(1), PATIENCE_S * 0.2)
            writer.write(bytes([letter]))
        assert b" 200 " in await reader.readline()


async def test_what_is_no_http_is_told_so(port: int) -> None:
    """As a problem, like any other mistake of a client."""
    status, body = await reply_to(port, b"\x16\x03\x01 hello\r\n\r\n")

    assert (status, orjson.loads(body)["code"]) == (400, "malformed-request")
