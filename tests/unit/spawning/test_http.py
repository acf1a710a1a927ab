"""HTTP workers: real servers on free ports, which answer as each test says."""

import asyncio
import json
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import httpx
import pytest
from standardwebhooks import Webhook

from app.domain.errors import DispatchFailed
from app.domain.json import Json
from app.domain.outputs import Final
from app.spawning.adapters.http import ACCEPTED, HttpWorkers
from app.spawning.outbound.settings import HttpWorkerSettings
from app.spawning.outbound.signing import verify
from app.spawning.ports import Exit, SpawnerAdapter, SpawnFailed
from tests.support.control import TASK, RecordedControl, job

SECRET = b"s" * 32

Answer = Callable[[int], bytes | None]
"""The raw reply to request number n (from 0); None closes the connection without one."""


class WorkerServer:
    """A server that keeps each request and sends raw replies."""

    def __init__(self, answer: Answer) -> None:
        self.requests: list[tuple[str, dict[str, str], bytes]] = []
        self.port = 0
        self._answer = answer

    @property
    def url(self) -> str:
        """Its root."""
        return f"http://127.0.0.1:{self.port}"

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One connection, one request."""
        head = (await reader.readuntil(b"\r\n\r\n")).decode()
        line, *fields = head.strip().split("\r\n")
        headers = dict(field.split(": ", 1) for field in fields)
        body = await reader.readexactly(int({k.lower(): v for k, v in headers.items()}["content-length"]))
        reply = self._answer(len(self.requests))
        self.requests.append((line, headers, body))
        if reply is not None:
            writer.write(reply)
            await writer.drain()
        writer.close()


@asynccontextmanager
async def serving(answer: Answer) -> AsyncIterator[WorkerServer]:
    """A running server."""
    worker = WorkerServer(answer)
    server = await asyncio.start_server(worker.serve, "127.0.0.1", 0)
    worker.port = server.sockets[0].getsockname()[1]
    async with server:
        yield worker


@asynccontextmanager
async def calling(*allow: str, **settings: Any) -> AsyncIterator[HttpWorkers]:
    """Workers under these prefixes; tries follow each other at once."""
    workers = HttpWorkers(
        HttpWorkerSettings(allow=allow, secrets=(SECRET,), backoff_s=0.0, **settings), jitter=lambda: 1.0
    )
    yield workers
    await workers.aclose()


def reply(status: int, body: Any = b"", **headers: str) -> bytes:
    """A raw reply; a body that is not bytes goes as JSON."""
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    fields = {"Content-Length": str(len(content)), "Connection": "close", **headers}
    head = f"HTTP/1.1 {status} X\r\n" + "".join(f"{name}: {value}\r\n" for name, value in fields.items())
    return head.encode() + b"\r\n" + content


async def given(server: WorkerServer, *, control: RecordedControl | None = None, **settings: Any) -> Exit:
    """How an attempt goes that is handed to the server."""
    control = control or RecordedControl()
    async with calling(server.url, **settings) as workers:
        worker = await workers.build({"kind": "http", "url": f"{server.url}/run"}).spawn(job("Do it."), control)
        async with asyncio.timeout(60):
            return await worker.join()


async def test_the_request_is_signed_and_says_everything() -> None:
    """Ids, handle, base URL and prompt in the body, an idempotency key beside it, and a signature that verifies."""
    async with serving(lambda _: reply(200, {"value": [1]})) as server:
        control = RecordedControl()
        exit = await given(server, control=control)
    line, headers, body = server.requests[0]

    assert exit == Exit(final=Final(value=Json.of([1]), ok=True))
    assert line == "POST /run HTTP/1.1"
    assert json.loads(body) == {
        "task_id": TASK,
        "attempt": 1,
        "agent": "coder",
        "handle": control.handles[0],
        "base_url": "http://127.0.0.1:7777",
        "prompt": "Do it.",
    }
    assert headers["Idempotency-Key"] == f"{TASK}.1"
    verify([SECRET], headers, body)
    Webhook(SECRET).verify(body, headers)
    assert "traceparent" not in {name.lower() for name in headers}


async def test_the_request_carries_the_trace() -> None:
    """As the headers of W3C Trace Context."""
    parent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
    async with serving(lambda _: reply(202)) as server, calling(server.url) as workers:
        spawner = workers.build({"kind": "http", "url": server.url})
        await spawner.spawn(job(trace=f"{parent} rojo=1"), RecordedControl())
    _, headers, _ = server.requests[0]
    assert (headers["traceparent"], headers["tracestate"]) == (parent, "rojo=1")


@pytest.mark.parametrize("answer", [reply(202, b"whatever"), reply(204), reply(200), reply(200, {"accepted": True})])
async def test_a_worker_that_accepted_is_waited_for(answer: bytes) -> None:
    """It submits by itself, and a restart does not send it the attempt again."""
    async with serving(lambda _: answer) as server, calling(server.url) as workers:
        control = RecordedControl()
        spawner = workers.build({"kind": "http", "url": server.url})
        worker = await spawner.spawn(job(), control)
        again = await spawner.rejoin(job(process=Json.of(ACCEPTED)), control)
        joining = asyncio.gather(worker.join(), again.join())
        await worker.stop(1)
        await asyncio.sleep(0)
        assert not joining.done()
        await control.end()

        assert [exit.final for exit in await joining] == [None, None]
        assert control.processes == [ACCEPTED]
        assert len(server.requests) == 1


async def test_a_restart_hands_it_over_again_under_the_same_key_when_nothing_was_recorded() -> None:
    """The receiver recognises the idempotency key."""
    async with serving(lambda _: reply(200, {"value": 1})) as server, calling(server.url) as workers:
        spawner = workers.build({"kind": "http", "url": server.url})
        for watch in (spawner.spawn, spawner.rejoin):
            await (await watch(job(), RecordedControl())).join()

    assert len({headers["Idempotency-Key"] for _, headers, _ in server.requests}) == 1


@pytest.mark.parametrize(
    ("body", "exit"),
    [
        ({"value": None}, Exit(final=Final(value=Json.of(None), ok=True))),
        ({"value": 1, "ok": False}, Exit(final=Final(value=Json.of(1), ok=False))),
        ({"ok": False}, Exit(final=Final(value=Json.of(None), ok=False))),
        ({"error": "no\nmodel"}, Exit(detail="no\\nmodel")),
        ({"value": 1, "error": {"code": 7}}, Exit(detail='{"code":7}')),
    ],
)
async def test_replies_that_end_the_attempt(body: Any, exit: Exit) -> None:
    """With a value or without ok it is done, with an error it failed."""
    async with serving(lambda _: reply(200, body)) as server:
        assert await given(server) == exit


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (reply(400, b"bad\x1b[31m body"), r"replied 400: bad\x1b[31m body"),
        (reply(401), "replied 401"),
        (reply(404, {"detail": "no such worker"}), 'replied 404: {"detail": "no such worker"}'),
        (reply(500, b"x" * 5000), "replied 500: x"),
        (reply(200, b"done!"), "cannot be read as {value, ok}"),
        (reply(200, [1]), "it is not an object"),
        (reply(200, {"value": 1, "ok": "yes"}), "'ok' is not a boolean"),
        (reply(200, {"value": "x" * 200_000}), "more than is read"),
    ],
)
async def test_other_replies_fail_the_spawn_with_a_bounded_reason(answer: bytes, words: str) -> None:
    """They are not tried again, and the reason holds nothing that a terminal would obey."""
    async with serving(lambda _: answer) as server:
        with pytest.raises(SpawnFailed) as failed:
            await given(server, max_reply_bytes=100_000)

    assert words in failed.value.detail
    assert len(failed.value.detail) < 3000
    assert len(server.requests) == 1


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
async def test_redirects_are_not_followed(status: int) -> None:
    """The attempt and its handle go nowhere else."""
    async with serving(lambda _: reply(200, {"value": 1})) as thief:
        async with serving(lambda _: reply(status, Location=f"{thief.url}/run")) as server:
            with pytest.raises(SpawnFailed, match="redirects are not followed"):
                await given(server)
        assert thief.requests == []


@pytest.mark.parametrize("trouble", [None, reply(503), reply(502), reply(504), reply(429, **{"Retry-After": "0"})])
async def test_passing_trouble_is_tried_again(trouble: bytes | None) -> None:
    """The same body under the same key until it works; when the next try is is recorded before each pause."""
    control, begin = RecordedControl(), round(time.time() * 1000)
    async with serving(lambda n: trouble if n < 2 else reply(200, {"value": "at last"})) as server:
        exit = await given(server, control=control, tries=3)

    assert exit.final == Final(value=Json.of("at last"), ok=True)
    assert len(server.requests) == 3
    assert len({body for _, _, body in server.requests}) == 1
    assert [record["tried"] for record in control.processes] == [1, 2]
    assert all(record["next_try_at"] >= begin and record["failure"] for record in control.processes)


async def test_trouble_that_stays_fails_the_spawn() -> None:
    """After the last try the detail says how often and what."""
    async with serving(lambda _: reply(503)) as server:
        with pytest.raises(SpawnFailed, match="replied 503, 2 times"):
            await given(server, tries=2)
    with pytest.raises(SpawnFailed, match="Connect"):
        await given(server, tries=1)


async def test_a_worker_that_never_replies_is_given_up() -> None:
    """The time limit counts as passing trouble."""
    arrived = asyncio.Event()

    async def silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        arrived.set()
        await reader.read()
        writer.close()

    server = await asyncio.start_server(silent, "127.0.0.1", 0)
    url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    async with server, calling(url, timeout_s=0.1, tries=1) as workers:
        with pytest.raises(SpawnFailed, match="ReadTimeout"):
            await workers.build({"kind": "http", "url": url}).spawn(job(), RecordedControl())
        assert arrived.is_set()


async def test_cookies_of_one_attempt_do_not_reach_the_next() -> None:
    """Nothing of a reply is remembered."""
    async with (
        serving(lambda _: reply(200, {"value": 1}, **{"Set-Cookie": "who=first"})) as server,
        calling(server.url) as workers,
    ):
        for _ in range(2):
            await workers.build({"kind": "http", "url": server.url}).spawn(job(), RecordedControl())

    assert all("Cookie" not in headers for _, headers, _ in server.requests)


async def test_an_injected_client_is_used_and_closed() -> None:
    """An injected client belongs to the sender, which closes it."""
    client = httpx.AsyncClient(trust_env=False)
    async with serving(lambda _: reply(200, {"value": 1})) as server:
        workers = HttpWorkers(HttpWorkerSettings(allow=(server.url,), secrets=(SECRET,)), client=client)
        await workers.build({"kind": "http", "url": server.url}).spawn(job(), RecordedControl())
        await workers.aclose()

    assert client.is_closed


async def test_only_what_the_settings_allow_is_built() -> None:
    """The same for every spelling; the spec comes back as it was given."""
    async with calling("http://127.0.0.1:1/run") as workers:
        spec = {"kind": "http", "url": "http://127.0.0.1:1/run/x"}
        spawner = workers.build(spec)
        assert isinstance(spawner, SpawnerAdapter)
        assert (spawner.spec, spawner.outlives_server) == (spec, True)
        for wrong in ({"url": "http://127.0.0.1:2/run"}, {"url": 5}, {}, {"url": spec["url"], "headers": {}}):
            with pytest.raises(DispatchFailed):
                workers.build({"kind": "http", **wrong})


def test_weak_settings_are_refused_at_start() -> None:
    """No unsigned calls, no short secrets, no nonsense for a prefix."""
    with pytest.raises(ValueError, match="32 bytes"):
        HttpWorkers(HttpWorkerSettings(allow=("http://a/",), secrets=()))
    with pytest.raises(ValueError, match="32 bytes"):
        HttpWorkers(HttpWorkerSettings(allow=("http://a/",), secrets=(SECRET, b"short")))
    with pytest.raises(ValueError, match="is not a URL prefix"):
        HttpWorkers(HttpWorkerSettings(allow=("nonsense",), secrets=(SECRET,)))


async def test_numbers_of_a_reply_keep_their_digits() -> None:
    """Integers and decimals alike."""
    digits = "[20000000000000000001,0.1234567890123456789,1.10,1e5,-0]"
    async with serving(lambda _: reply(200, f'{{"value":{digits}}}'.encode())) as server:
        exit = await given(server)
    assert exit.final is not None
    assert exit.final.value.text == digits


async def test_a_reply_of_too_many_values_fails_the_spawn() -> None:
    """Nothing is built from it."""
    async with serving(lambda _: reply(200, {"value": [1] * 100_000})) as server:
        with pytest.raises(SpawnFailed, match="values"):
            await given(server)
