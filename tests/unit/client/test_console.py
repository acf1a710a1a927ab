"""Consoles and backends over real sockets, against a server that says what each test has it say."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import Any

import httpx
import orjson
import pytest
from websockets.asyncio.server import ServerConnection, serve

from swarmhold import AnswerRejected, BackendHandlers, CallRetry, Disconnected, Finished, Refused, SwarmholdClient
from swarmhold.models.frames import CancelSpawn, HookBefore, Spawn
from tests.support.waiting import eventually

DEADLINE = 60
QUICK = CallRetry(initial_backoff=timedelta(milliseconds=1), max_backoff=timedelta(milliseconds=5))
ASK: dict[str, Any] = {
    "type": "ask",
    "key": "R-1",
    "task_id": "T-0",
    "attempt": 1,
    "agent": "a",
    "question": "go?",
    "asked_at": "2026-01-01T00:00:00.000Z",
}
SPAWN: dict[str, Any] = {
    "type": "spawn",
    "req_id": "1",
    "task_id": "T-0",
    "agent": "a",
    "attempt": 1,
    "worker_handle": "wh-1",
    "base_url": "http://h",
    "directive": "start",
}


class Line:
    """One connection, as the server side of a test speaks on it."""

    def __init__(self, socket: ServerConnection) -> None:
        self.socket = socket

    async def say(self, *frames: dict[str, Any]) -> None:
        """Send frames."""
        for frame in frames:
            await self.socket.send(orjson.dumps(frame).decode())

    async def receive(self) -> dict[str, Any]:
        """The next frame from the client."""
        return orjson.loads(await self.socket.recv())

    async def welcome(self) -> None:
        """Greet."""
        await self.say({"type": "welcome", "bridge_id": "b", "open": 0})


Talk = Callable[[Line], Awaitable[None]]


@asynccontextmanager
async def speaking(*talks: Talk) -> AsyncIterator[SwarmholdClient]:
    """A client of a server that holds these talks, one for each connection, and then refuses to speak."""
    left = list(talks)

    async def handle(socket: ServerConnection) -> None:
        assert socket.request is not None
        assert socket.request.headers["Authorization"] == "Bearer secret"
        assert "secret" not in socket.request.path
        assert socket.subprotocol == "swarmhold.v1"
        if left:
            await left.pop(0)(Line(socket))
        else:
            await socket.close(4409, "replaced")

    async with serve(handle, "127.0.0.1", 0, subprotocols=["swarmhold.v1"]) as server:  # pyright: ignore[reportArgumentType] - a NewType of str
        port = next(iter(server.sockets)).getsockname()[1]
        async with asyncio.timeout(DEADLINE), SwarmholdClient(f"http://127.0.0.1:{port}", call_retry=QUICK) as client:
            yield client


async def test_a_question_arrives_and_is_answered() -> None:
    """The answer returns once the server accepted it."""

    async def talk(line: Line) -> None:
        await line.welcome()
        await line.say(ASK)
        assert await line.receive() == {"type": "answer", "key": "R-1", "value": {"go": True}}
        await line.say({"type": "accepted", "key": "R-1"})
        await line.socket.wait_closed()

    async with speaking(talk) as server, server.senior("secret").console("b") as console:
        ask = await console.next_ask()
        assert (ask.key, ask.question) == ("R-1", "go?")
        await console.answer(ask.key, {"go": True})
        assert console.open == []


async def test_a_question_is_returned_once_over_many_connections() -> None:
    """An answer whose reply was lost is sent again; a question delivered again is not returned again."""

    async def first(line: Line) -> None:
        await line.welcome()
        await line.say(ASK)
        await line.receive()

    async def second(line: Line) -> None:
        await line.welcome()
        await line.say(ASK)
        assert (await line.receive())["key"] == "R-1"
        await line.say({"type": "accepted", "key": "R-1"}, {**ASK, "key": "R-2"})
        await line.socket.wait_closed()

    async with speaking(first, second) as server, server.senior("secret").console("b") as console:
        keys: list[str] = []
        async for ask in console:
            keys.append(ask.key)
            if ask.key == "R-2":
                break
            await console.answer(ask.key, 1)
        assert keys == ["R-1", "R-2"]


async def test_a_withdrawn_question_is_not_returned() -> None:
    """Nobody should spend thought on it."""

    async def talk(line: Line) -> None:
        await line.welcome()
        await line.say(ASK, {"type": "withdrawn", "key": "R-1", "reason": "cancelled"}, {**ASK, "key": "R-2"})
        await line.socket.wait_closed()

    async with speaking(talk) as server, server.senior("secret").console("b") as console:
        await eventually(lambda: [ask.key for ask in console.open] == ["R-2"])
        assert (await console.next_ask()).key == "R-2"


async def test_a_rejected_answer_says_why() -> None:
    """After answer-invalid the question is still open, after already-answered it is not."""

    async def talk(line: Line) -> None:
        await line.welcome()
        await line.say(ASK)
        for code in ("answer-invalid", "already-answered"):
            await line.receive()
            await line.say({"type": "rejected", "key": "R-1", "code": code, "detail": "d"})
        await line.socket.wait_closed()

    async with speaking(talk) as server, server.senior("secret").console("b") as console:
        await console.next_ask()
        with pytest.raises(AnswerRejected, match="answer-invalid"):
            await console.answer("R-1", 1)
        assert len(console.open) == 1
        with pytest.raises(AnswerRejected, match="already-answered"):
            await console.answer("R-1", 2)
        assert console.open == []


async def test_a_frame_that_the_server_cannot_use_fails_its_answer() -> None:
    """An error frame, or a close because of its size; unknown frames are skipped."""

    async def first(line: Line) -> None:
        await line.welcome()
        await line.say({"type": "weather", "sky": "blue"})
        await line.receive()
        await line.say({"type": "error", "code": "invalid-request", "detail": "d"})
        await line.receive()
        await line.socket.close(1009, "too big")

    async def second(line: Line) -> None:
        await line.welcome()
        await line.socket.wait_closed()

    async with speaking(first, second) as server, server.senior("secret").console("b") as console:
        with pytest.raises(AnswerRejected, match="invalid-request"):
            await console.answer("R-1", 1)
        with pytest.raises(AnswerRejected, match="payload-too-large"):
            await console.answer("R-1", "x")


@pytest.mark.parametrize("code", [4401, 4403, 4409])
async def test_a_console_that_is_not_wanted_ends(code: int) -> None:
    """Whoever waits gets an error, and nothing reconnects."""

    async def talk(line: Line) -> None:
        await line.welcome()
        await line.receive()
        await line.socket.close(code, "no")

    async with speaking(talk) as server, server.senior("secret").console("b") as console:
        with pytest.raises(Disconnected) as caught:
            await console.answer("R-1", 1)
        assert caught.value.close_code == code
        with pytest.raises(Disconnected):
            await console.next_ask()
        with pytest.raises(Disconnected):
            await console.answer("R-1", 1)


async def test_entering_fails_when_the_console_is_refused() -> None:
    """A dead credential is known before the first question."""
    async with speaking() as server:
        with pytest.raises(Disconnected):
            async with server.senior("secret").console("b"):
                pytest.fail("it was let in")


async def test_a_slow_reader_comes_back() -> None:
    """4408 is no verdict; everything is delivered again."""

    async def slow(line: Line) -> None:
        await line.socket.close(4408, "slow")

    async def talk(line: Line) -> None:
        await line.welcome()
        await line.say(ASK)
        await line.socket.wait_closed()

    async with speaking(slow, talk) as server, server.senior("secret").console("b") as console:
        assert (await console.next_ask()).key == "R-1"


async def test_a_backend_acknowledges_what_its_handlers_did() -> None:
    """Started, finished, failed, agreed, refused: each as its own ack; questions arrive on the same connection."""
    acks: list[dict[str, Any]] = []

    async def talk(line: Line) -> None:
        await line.welcome()
        hook = {"task_id": "T-0", "agent": "a"}
        for number, frame in enumerate(
            [
                {**SPAWN, "attempt": 1},
                {**SPAWN, "attempt": 2},
                {**SPAWN, "attempt": 3},
                {"type": "hook_before", "attempt": 4, **hook},
                {"type": "hook_before", "attempt": 5, **hook},
                {"type": "hook_after", "attempt": 5, "result": 1, **hook},
            ]
        ):
            await line.say({**frame, "req_id": str(number)})
            acks.append(await line.receive())
        await line.say(ASK)
        await line.socket.wait_closed()

    async def spawn(frame: Spawn) -> Finished | None:
        if frame.attempt == 3:
            raise OSError("no room")
        return Finished(value=None) if frame.attempt == 2 else None

    async def hook_before(frame: HookBefore) -> Refused | None:
        return Refused("not today") if frame.attempt == 5 else None

    handlers = BackendHandlers(spawn=spawn, hook_before=hook_before)
    async with speaking(talk) as server, server.operator("secret").backend("b", handlers) as backend:
        assert (await backend.next_ask()).key == "R-1"
    assert acks == [
        {"type": "spawn_ack", "req_id": "0", "ok": True},
        {"type": "spawn_ack", "req_id": "1", "ok": True, "value": None},
        {"type": "spawn_ack", "req_id": "2", "ok": False, "error": "OSError: no room"},
        {"type": "hook_ack", "req_id": "3", "ok": True},
        {"type": "hook_ack", "req_id": "4", "ok": False, "reason": "not today"},
        {"type": "hook_ack", "req_id": "5", "ok": True},
    ]


async def test_a_spawn_sent_again_is_not_started_again() -> None:
    """The handler is called with the new handle, and the ack goes to the newest request."""
    calls: list[str] = []
    acks: list[dict[str, Any]] = []
    acked = asyncio.Event()

    async def first(line: Line) -> None:
        await line.welcome()
        await line.say(SPAWN)
        await eventually(lambda: calls)

    async def second(line: Line) -> None:
        await line.welcome()
        await line.say({**SPAWN, "req_id": "2", "worker_handle": "wh-2"})
        acks.append(await line.receive())
        acked.set()
        await line.socket.wait_closed()

    async def spawn(frame: Spawn) -> Finished | None:
        calls.append(frame.worker_handle)
        return None

    async def renewed(frame: Spawn) -> None:
        calls.append(frame.worker_handle)

    handlers = BackendHandlers(spawn=spawn, renewed=renewed)
    async with speaking(first, second) as server, server.operator("secret").backend("b", handlers):
        await acked.wait()
    assert calls == ["wh-1", "wh-2"]
    assert acks == [{"type": "spawn_ack", "req_id": "2", "ok": True}]


async def test_a_cancelled_attempt_stops_its_handler() -> None:
    """The running spawn is cancelled and the cancel handler is called; leaving cancels what still runs."""
    received: list[str] = []
    cancelled = asyncio.Event()
    started = asyncio.Event()

    async def talk(line: Line) -> None:
        await line.welcome()
        await line.say(SPAWN)
        await started.wait()
        await line.say({"type": "cancel", "req_id": "9", "task_id": "T-0", "attempt": 1})
        await line.socket.wait_closed()

    async def spawn(_frame: Spawn) -> Finished | None:
        started.set()
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            received.append("spawn cancelled")
            raise
        return None

    async def cancel(frame: CancelSpawn) -> None:
        received.append(f"cancel {frame.task_id}")
        cancelled.set()

    handlers = BackendHandlers(spawn=spawn, cancel=cancel)
    async with speaking(talk) as server, server.operator("secret").backend("b", handlers):
        await cancelled.wait()
    assert sorted(received) == ["cancel T-0", "spawn cancelled"]


async def test_a_refused_handshake_is_final_and_a_busy_one_is_not() -> None:
    """403 ends the link; 503 is tried again."""
    statuses = [503, 503, 403]

    def refuse(connection: ServerConnection, _request: object) -> object:
        return connection.respond(statuses.pop(0), "no")

    async def never(_socket: ServerConnection) -> None:
        pytest.fail("no handshake should succeed")

    async with serve(never, "127.0.0.1", 0, process_request=refuse) as server:  # pyright: ignore[reportArgumentType] - the reply is typed loosely here
        port = next(iter(server.sockets)).getsockname()[1]
        async with SwarmholdClient(f"http://127.0.0.1:{port}", call_retry=QUICK) as client, asyncio.timeout(DEADLINE):
            with pytest.raises(Disconnected) as caught:
                async with client.senior("secret").console("b"):
                    pytest.fail("it was let in")
    assert caught.value.close_code == 403
    assert statuses == []


async def test_readiness_never_raises() -> None:
    """A server that is away is not ready."""
    script = httpx.MockTransport(lambda _request: httpx.Response(200))
    assert await SwarmholdClient("", http=httpx.AsyncClient(base_url="http://x", transport=script)).is_ready()
    async with SwarmholdClient("http://127.0.0.1:1") as away:
        assert not await away.is_ready()
