"""A webhook's receiver: a real server that keeps what it is sent and replies as it is told."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any

import orjson
import uvicorn
from standardwebhooks import Webhook
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send

from app.spawning.outbound.signing import verify
from tests.support.ports import LOOPBACK, listen
from tests.support.serving import QuietServer
from tests.support.waiting import eventually


@dataclass(slots=True)
class Receiver:
    """`sent` has every request, accepted or not, with its headers.

    `replies` are statuses for the next requests, then 204, or 200 with the next of `answers` as its body. `calls` has
    the method and target of each request. `secret` is what deliveries must be signed with.
    """

    port: int = 0
    secret: str | None = None
    replies: list[int] = field(default_factory=list[int])
    headers: dict[str, str] = field(default_factory=dict[str, str])
    bodies: list[dict[str, Any]] = field(default_factory=list[dict[str, Any]])
    texts: list[bytes] = field(default_factory=list[bytes])
    tries: int = 0
    sent: list[tuple[dict[str, str], bytes]] = field(default_factory=list[tuple[dict[str, str], bytes]])
    calls: list[str] = field(default_factory=list[str])
    answers: list[bytes] = field(default_factory=list[bytes])

    @property
    def url(self) -> str:
        """Where it is reached."""
        return f"http://{LOOPBACK}:{self.port}/hook"

    @property
    def events(self) -> list[dict[str, Any]]:
        """Every event that was accepted, in the order in which they came."""
        return [event for body in self.bodies for event in body["events"]]

    @property
    def cursors(self) -> list[int]:
        """Their cursors."""
        return [event["cursor"] for event in self.events]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        request = Request(scope, receive)
        body = await request.body()
        self.tries += 1
        self.sent.append((dict(request.headers), body))
        self.calls.append(f"{request.method} {request.url.path}?{request.url.query}".rstrip("?"))
        answer = b"" if self.replies or not self.answers else self.answers.pop(0)
        status = self.replies.pop(0) if self.replies else 200 if answer else 204
        if self.secret is not None:
            verify([self.secret.encode()], request.headers, body)
            Webhook(self.secret).verify(body, dict(request.headers))
        if status < 300:
            self.bodies.append(orjson.loads(body) if "json" in request.headers["content-type"] else {})
            self.texts.append(body)
        await Response(answer, status_code=status, headers=self.headers)(scope, receive, send)


@contextlib.asynccontextmanager
async def receiving(port: int = 0) -> AsyncIterator[Receiver]:
    """A receiver on a free port of 127.0.0.1, or on this one, until the block ends."""
    receiver = Receiver()
    async with listening(receiver, port) as receiver.port:
        yield receiver


@contextlib.asynccontextmanager
async def listening(application: ASGIApp, port: int = 0) -> AsyncIterator[int]:
    """The port of 127.0.0.1, a free one unless it is given, on which an application is served."""
    bound = listen(port)
    server = QuietServer(uvicorn.Config(application, lifespan="off", log_level="warning", access_log=False))
    serving = asyncio.create_task(server.serve(sockets=[bound]))
    try:
        await eventually(lambda: server.started, awaited="the receiver to listen")
        yield bound.getsockname()[1]
    finally:
        server.should_exit = True
        await serving
