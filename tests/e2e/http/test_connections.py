"""Connections of clients that misbehave, against a server process: half-closed, never read, too many."""

import asyncio
import re
import secrets
import socket
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from time import monotonic

import httpx
import orjson
import pytest

from tests.support.ports import LOOPBACK
from tests.support.processes import ServerProcess

pytestmark = pytest.mark.one_node("connections are those of one process, which are counted there")

OP = "/v1/operator"
DEADLINE_S = 60.0
LIMIT = 20
WATCHING = 40
"""Polls of one task."""


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


def written(method: str, path: str, token: str = "", body: bytes = b"", **more: str) -> bytes:
    """A request as it is sent."""
    head = f"{method} {path} HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {token}\r\n"
    head += "".join(f"{name}: {value}\r\n" for name, value in {"Content-Type": "application/json", **more}.items())
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

    call = {"name": "ask_human", "arguments": {"question": "?", "hold": 50}}
    asking = orjson.dumps({"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": call})
    asked = await half_closed(server, written("POST", "/mcp", token, asking, Accept="application/json"))

    assert polled.startswith(b"HTTP/1.1 202 ")
    assert orjson.loads(asked.partition(b"\r\n\r\n")[2])["result"]["structuredContent"]["open"] is True
    assert monotonic() - began < 80


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


async def test_a_trusted_proxy_has_as_many_connections_as_its_clients_need(tmp_path: Path) -> None:
    """Its own are not counted; other sources are, whoever they say that they forward for."""
    settings = {"SWARMHOLD_LIMITS__CONNECTIONS": str(LIMIT), "SWARMHOLD_HTTP__TRUSTED_PROXIES": f'["{LOOPBACK}"]'}
    server = ServerProcess(tmp_path, settings)
    await asyncio.to_thread(server.start)
    try:
        by_proxy = await _answered(server, LOOPBACK, LIMIT + 20)
        directly = await _answered(server, "127.0.0.2", LIMIT + 20)
    finally:
        await asyncio.to_thread(server.stop)

    assert (by_proxy, directly) == (LIMIT + 20, LIMIT)


async def _answered(server: ServerProcess, source: str, count: int) -> int:
    """How many of so many connections from an address are served while all of them are open."""
    request = written("GET", "/healthz").replace(b"\r\n\r\n", b"\r\nX-Forwarded-For: 10.1.1.1\r\n\r\n")
    pairs = [await asyncio.open_connection(LOOPBACK, server.port, local_addr=(source, 0)) for _ in range(count)]
    served = 0
    for reader, writer in pairs:
        writer.write(request)
        async with asyncio.timeout(DEADLINE_S):
            with suppress(ConnectionError):
                served += (await reader.read(100)).startswith(b"HTTP/1.1 200 ")
    for _, writer in pairs:
        writer.close()
    return served


async def test_failures_count_for_the_client_behind_a_trusted_proxy(tmp_path: Path) -> None:
    """One client's wrong credentials do not slow down another's; whom others claim to forward for means nothing."""
    settings = {
        "SWARMHOLD_HTTP__TRUSTED_PROXIES": f'["{LOOPBACK}"]',
        "SWARMHOLD_HTTP__AUTH_RATE_LIMIT__BURST_PER_SOURCE": "3",
        "SWARMHOLD_HTTP__AUTH_RATE_LIMIT__PER_SOURCE_PER_SECOND": "0.001",
    }
    server = ServerProcess(tmp_path, settings)
    await asyncio.to_thread(server.start)
    try:
        first = [await _refusal(server, LOOPBACK, "10.1.1.1") for _ in range(4)]
        second = await _refusal(server, LOOPBACK, "10.1.1.2")
        pretending = [await _refusal(server, "127.0.0.2", f"10.2.2.{number}") for number in range(4)]
    finally:
        await asyncio.to_thread(server.stop)

    assert (first, second) == ([401, 401, 401, 429], 401)
    assert pretending == [401, 401, 401, 429]


async def _refusal(server: ServerProcess, source: str, client: str) -> int:
    """The status of a call with a wrong credential, from an address that forwards it for a client."""
    headers = {"X-Forwarded-For": client, "Authorization": f"Bearer shk_{secrets.token_hex(20)}"}
    transport = httpx.AsyncHTTPTransport(local_address=source)
    async with httpx.AsyncClient(base_url=server.url, transport=transport, timeout=DEADLINE_S) as caller:
        return (await caller.get(f"{OP}/session", headers=headers)).status_code


Pair = tuple[asyncio.StreamReader, asyncio.StreamWriter]


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
    with ServerProcess(tmp_path, {"SWARMHOLD_SHUTDOWN_GRACE": "60"}) as server:
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
        assert monotonic() - began < 40
        assert "engine_stopped_late" not in server.logs()
        for client in stuck:
            client.close()


async def test_all_who_wait_for_a_large_task_share_one_reply(tmp_path: Path) -> None:
    """Slow clients of one task cost its size once, and each gets all of it."""
    with ServerProcess(tmp_path) as server:
        token, task_id = await asyncio.to_thread(session, server)
        value = "x" * 8_000_000
        async with httpx.AsyncClient(base_url=server.url, timeout=DEADLINE_S, trust_env=False) as client:
            headers = {"Authorization": f"Bearer {token}"}
            await client.post(f"{OP}/tasks/{task_id}/result", json={"value": value}, headers=headers)
            pairs = [await _slow_connection(server) for _ in range(WATCHING)]
            for _, writer in pairs:
                writer.write(written("GET", f"{OP}/tasks/{task_id}/poll?hold=50&since=1000", token))
            before = _peak_kib(server)
            await client.post(f"{OP}/tasks/{task_id}/cancel", headers=headers)
            heads = [await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), DEADLINE_S) for reader, _ in pairs]
            grown = _peak_kib(server) - before
        bodies = await asyncio.gather(*(_body(reader, head) for (reader, _), head in zip(pairs, heads, strict=True)))
        for _, writer in pairs:
            writer.close()

    assert {orjson.loads(body)["last_result"] for body in bodies} == {value}
    assert grown < 150_000


async def _slow_connection(server: ServerProcess) -> Pair:
    """A connection of a client that takes little at a time."""
    client = socket.socket()
    client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 65536)
    client.setblocking(False)
    await asyncio.get_running_loop().sock_connect(client, (LOOPBACK, server.port))
    return await asyncio.open_connection(sock=client)


def _peak_kib(server: ServerProcess) -> int:
    lines = Path(f"/proc/{server.pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM:"))


async def _body(reader: asyncio.StreamReader, head: bytes) -> bytes:
    async with asyncio.timeout(DEADLINE_S):
        return await reader.readexactly(int(head.partition(b"content-length: ")[2].split()[0]))
