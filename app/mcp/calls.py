"""Calls of the API from inside the server, with the caller's credential: each tool is one or two of them.

So a tool checks, limits, records and answers what the route does, and nothing else.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from hashlib import sha256
from typing import Any, Protocol, cast
from urllib.parse import quote, urlencode

import orjson
from starlette.requests import ClientDisconnect
from starlette.types import Message, Receive, Scope

from app.domain.access import Role
from app.domain.doors import DOOR, Door
from app.http.app import LEFT
from app.http.context import SCOPE_KEY, ServerContext
from app.mcp.streams import STREAM, ReplyStream

Value = dict[str, Any]

_NOTHING = object()


class CallFailed(Exception):
    """A call was answered with a problem document."""

    def __init__(self, problem: Value) -> None:
        super().__init__(problem.get("detail"))
        self.problem = problem


class InputNeeded(Exception):
    """A call has to be made again with what its client asks its person; `result` says what that is."""

    def __init__(self, result: Any) -> None:
        super().__init__()
        self.result = result


class Asking(Protocol):
    """How a call asks the person at its client."""

    @property
    def asked(self) -> str | None:
        """The key of the question that this call asked when it was made before."""
        ...

    async def ask(self, api: Api, question: Value) -> bool:
        """Ask, and answer the question if the person does; return whether they went elsewhere to answer it.

        Raises InputNeeded, CallFailed.
        """
        ...


def refused(detail: str, **more: Any) -> CallFailed:
    """Return the failure of a call whose arguments break the tool's schema."""
    return CallFailed(
        {"title": "The arguments break the schema", "status": 422, "code": "invalid-body", "detail": detail, **more}
    )


@dataclass(frozen=True, slots=True)
class Api:
    """The API as one caller sees it."""

    scope: Scope
    credential: str
    role: Role
    tool: str
    once: str | None = None
    asking: Asking | None = None

    @property
    def base(self) -> str:
        """The prefix of the caller's own routes: operators and observers share one."""
        return "/v1/worker" if self.role is Role.WORKER else "/v1/operator"

    @property
    def server(self) -> ServerContext:
        """The objects that all requests of this server share."""
        found: ServerContext = self.scope[SCOPE_KEY]
        return found

    async def get(self, path: str, **query: Any) -> Value:
        """Return the reply's value. Raises CallFailed."""
        return await self._call("GET", path, b"", {name: value for name, value in query.items() if value is not None})

    async def post(self, path: str, body: Any = _NOTHING, *, once: bool = False, **query: Any) -> Value:
        """Return the reply's value; {} without one. `once` sends the caller's key of this ask. Raises CallFailed."""
        return await self._call("POST", path, b"" if body is _NOTHING else orjson.dumps(body), query, once=once)

    async def _call(
        self, method: str, path: str, body: bytes, query: Mapping[str, Any], *, once: bool = False
    ) -> Value:
        headers = [(b"host", b"localhost"), (b"authorization", f"Bearer {self.credential}".encode())]
        if body:
            headers += [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())]
        if once and self.once is not None:
            key = f"mcp:{self.tool}:{sha256(self.once.encode()).hexdigest()}"
            headers.append((b"idempotency-key", key.encode()))
        kept = {
            name: self.scope[name] for name in ("type", "asgi", "http_version", "client", "server", "scheme", SCOPE_KEY)
        }
        scope = {
            **kept,
            "method": method,
            "path": path,
            "raw_path": path.encode(),
            "root_path": "",
            "query_string": urlencode(query).encode(),
            "headers": headers,
        }
        DOOR.set(Door.MCP)
        reply, stream = _Reply(), cast("ReplyStream", self.scope[STREAM])
        try:
            await self.scope["app"](scope, received(body, stream.receive), reply.send)
        except Exception:
            # FastAPI raises an unexpected error again after it has been logged and answered.
            if reply.status != 500:
                raise
        if reply.status == LEFT:
            raise ClientDisconnect
        value: Value = orjson.loads(reply.body) if reply.body else {}
        if reply.status >= 400:
            raise CallFailed(value)
        return value


def segment(text: Any) -> str:
    """Return a text as one segment of a path. Raises CallFailed for what cannot be one."""
    if not isinstance(text, str) or not text or text in (".", ".."):
        raise refused("An id is a text.")
    return quote(text, safe="")


def received(body: bytes, then: Receive) -> Receive:
    """Return what receives this body, and `then` what follows it: that the client has left."""
    messages: list[Message] = [{"type": "http.request", "body": body, "more_body": False}]

    async def receive() -> Message:
        return messages.pop() if messages else await then()

    return receive


class _Reply:
    """Gathers one reply."""

    __slots__ = ("body", "status")

    def __init__(self) -> None:
        self.status = 0
        self.body = b""

    async def send(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.status = message["status"]
        else:
            self.body += message.get("body", b"")
