"""Connections of clients that misbehave, against a server process: half-closed, never read, too many."""

import asyncio
import re
import socket
from collections.abc import Iterator
from pathlib import Path
from time import monotonic

import httpx
import orjson
import pytest

from tests.support.ports import LOOPBACK
from tests.support.processes import ServerProcess

OP = "/v1/operator"
DEADLINE_S = 30.0
LIMIT = 20


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    """A server as it comes."""
    with ServerProcess(tmp_path_factory.mktemp("connections")) as running:
        yield running


def session(server: ServerProcess) -> tuple[str, str]:
    """The token of a new session, and a task of it."""
    with httpx.Client(base_url=server.url, timeout=DEADLINE_S, trust_env=False) as client:
        key = {"Authorization": f"Bearer {server.root_key()}"}
        body = {"operator_id": "o", "role": "operator", "ttl": 3600}
        token = client.post(f"{OP}/sessions", json=body, headers=key).json()["token"]
        spec = {"agent": "a", "initial_directive": "d"}
        task = client.post(f"{OP}/tasks", json=spec, headers={"Authorization": f"Bearer {token}"})
        return token, task.json()["id"]


async def half_closed(server: ServerProcess, request: bytes) -> bytes:
    """What is answered to a client that sends a request and then says that it sends no more."""
    async with asyncio.timeout(DEADLINE_S):
        reader, writer = await asyncio.open_connection(LOOPBACK, server.port)
        writer.write(request)
        writer.write_eof()
        answered = await reader.read()
        writer.close()
        return answered


def written(method: str, path: str, token: str = "", body: bytes = b"") -> bytes:
    """A request as it is sent."""
    head = f"{method} {path} HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {token}\r\n"
    return f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body


async def test_a_half_closed_connection_gets_its_reply(server: ServerProcess) -> None:
    """Whatever the method; a pipeline gets every reply, and the connection is closed after the last."""
    token, task_id = session(server)
    created = await half_closed(
        server, written("POST", f"{OP}/tasks", token, b'{"agent": "a", "initial_directive": "d"}')
    )
    read = await half_closed(server, written("GET", f"{OP}/tasks/{task_id}", token))
    both = await half_closed(server, written("GET", "/healthz") + written("GET", f"{OP}/session", token))

    assert created.startswith(b"HTTP/1.1 201 ")
    assert orjson.loads(read.partition(b"\r\n\r\n")[2])["id"] == task_id
    assert both.count(b"HTTP/1.1 200 ") == 2


async def test_a_half_closed_long_poll_is_answered_at_once(server: ServerProcess) -> None:
    """The client may be gone as well as waiting: it gets what there is, and nothing stays parked for it."""
    token, task_id = session(server)
    began = monotonic()
    polled = await half_closed(server, written("GET", f"{OP}/tasks/{task_id}/poll?hold=50", token))

    assert polled.startswith(b"HTTP/1.1 202 ")
    assert monotonic() - began < 40


async def test_a_half_closed_event_stream_goes_on(server: ServerProcess) -> None:
    """Its writes show whether the client is still there."""
    token, _ = session(server)
    async with asyncio.timeout(DEADLINE_S):
        reader, writer = await asyncio.open_connection(LOOPBACK, server.port)
        writer.write(written("GET", f"{OP}/events", token))
        await reader.readuntil(b"swarmhold events")
        writer.write_eof()
        session(server)

        assert await reader.readuntil(b"task_created")
        writer.close()


async def test_an_unfinished_request_of_a_half_closed_connection_ends(server: ServerProcess) -> None:
    """Its rest can never come."""
    request = written("POST", f"{OP}/tasks", "t", b"{}")[:-1]

    assert b" 201 " not in await half_closed(server, request)
    assert await half_closed(server, b"GET /hea") == b""


async def test_one_source_has_so_many_connections(tmp_path: Path) -> None:
    """More are closed at once, logged at most once a second and counted; those that are open go on."""
    settings = {"SWARMHOLD_LIMITS__CONNECTIONS": str(LIMIT), "SWARMHOLD_HTTP__METRICS_OPEN": "yes"}
    server = ServerProcess(tmp_path, settings)
    await asyncio.to_thread(server.start)
    try:
        # The connection by which the start was noticed may not have ended yet.
        pairs = [await asyncio.open_connection(LOOPBACK, server.port) for _ in range(LIMIT + 5)]
        for _, writer in pairs:
            writer.write(written("GET", "/metrics"))
        texts = [await _until_end_of_metrics(reader) for reader, _ in pairs]
        reader, writer = next(pair for pair, text in zip(pairs, texts, strict=True) if text)
        writer.write(written("GET", "/metrics"))
        counted = await _until_end_of_metrics(reader)
        for _, writer in pairs:
            writer.close()
    finally:
        await asyncio.to_thread(server.stop)

    answered = [text for text in texts if text]
    assert LIMIT - 1 <= len(answered) <= LIMIT
    assert re.search(rb"swarmhold_connections_refused_total [56]\.0", counted)
    lines = [line for line in server.logs().splitlines() if "connections_refused" in line]
    assert 1 <= len(lines) <= 3
    assert f"limit={LIMIT}" in lines[0]


async def _until_end_of_metrics(reader: asyncio.StreamReader) -> bytes:
    """The reply with metrics, or nothing when the connection was closed."""
    try:
        async with asyncio.timeout(DEADLINE_S):
            head = await reader.readuntil(b"\r\n\r\n")
            return await reader.readexactly(int(head.partition(b"content-length: ")[2].split()[0]))
    except (ConnectionError, asyncio.IncompleteReadError):
        return b""


def test_clients_that_do_not_read_do_not_hold_a_stop_up(tmp_path: Path) -> None:
    """An event stream and large replies that nobody reads: the stop takes a fraction of what is allowed."""
    with ServerProcess(tmp_path) as server:
        token, _ = session(server)
        stuck: list[socket.socket] = []
        for path in ("/openapi.json", f"{OP}/events"):
            client = socket.create_connection((LOOPBACK, server.port))
            client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            client.sendall(written("GET", path, token) * (60 if path == "/openapi.json" else 1))
            client.recv(1)
            stuck.append(client)
        began = monotonic()

        assert server.stop() == 0
        assert monotonic() - began < 8
        assert "engine_stopped_late" not in server.logs()
        for client in stuck:
            client.close()
