"""Counting connections, and giving up those whose client does not read."""

import asyncio
import socket
from typing import Any

import pytest
import uvicorn

from app.bootstrap.connections import ConnectionLimits
from app.bootstrap.http_writes import BatchingHttpProtocol
from tests.support.ports import LOOPBACK
from tests.support.waiting import eventually

DEADLINE_S = 60.0


def test_each_source_and_all_together_have_a_limit() -> None:
    """Those that end make room; trusted proxies have no limit of their own."""
    limits = ConnectionLimits(per_source=2, overall=5, exempt={"proxy"})
    first, second = limits.admit("a"), limits.admit("a")

    assert first is not None
    assert second is not None
    assert limits.admit("a") is None
    first()
    assert limits.admit("a") is not None
    assert all(limits.admit("proxy") for _ in range(3))
    assert limits.admit("b") is None
    assert (limits.open, limits.refused) == (5, 2)


def test_refusals_are_logged_once_a_second(capsys: pytest.CaptureFixture[str]) -> None:
    """With how many there were since the line before."""
    times = iter((0.0, 0.1, 0.9, 1.0, 1.5, 2.5))
    limits = ConnectionLimits(per_source=0, clock=lambda: next(times))
    for _ in range(6):
        limits.admit("a")

    lines = [line for line in capsys.readouterr().out.splitlines() if "connections_refused" in line]
    assert [line.partition("count=")[2].split()[0] for line in lines] == ["1", "3", "2"]


async def large(scope: dict[str, Any], receive: Any, send: Any) -> None:
    """Answers with more than any socket buffers, in one piece or as a stream."""
    del receive
    piece, pieces = 8 * 1024 * 1024, 1 if scope["path"] == "/whole" else 8
    head = [(b"content-length", b"%d" % (piece * pieces))]
    await send({"type": "http.response.start", "status": 200, "headers": head})
    for index in range(pieces):
        await send({"type": "http.response.body", "body": b"x" * piece, "more_body": index < pieces - 1})


@pytest.mark.parametrize("path", ["/whole", "/stream"])
async def test_a_client_that_stops_reading_is_dropped(path: str) -> None:
    """After the stall limit, whether the reply is one piece or a stream."""
    config = uvicorn.Config(large, lifespan="off", log_config=None)
    config.load()
    state = uvicorn.Server(config).server_state
    limits = ConnectionLimits()

    def protocol() -> BatchingHttpProtocol:
        return BatchingHttpProtocol(config=config, server_state=state, app_state={}, connections=limits, stall_s=0.4)

    async with asyncio.timeout(DEADLINE_S), await asyncio.get_running_loop().create_server(protocol, LOOPBACK, 0) as up:
        with socket.create_connection(up.sockets[0].getsockname()) as client:
            client.sendall(f"GET {path} HTTP/1.1\r\nHost: a\r\n\r\n".encode())
            await eventually(lambda: limits.open == 1, awaited="the connection")
            await eventually(lambda: not limits.open, awaited="its end")

            assert not state.connections
