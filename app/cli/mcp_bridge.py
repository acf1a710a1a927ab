"""The bridge between an MCP client on standard input and output and the server's MCP door."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import re
import sys
import time
from base64 import b64encode
from secrets import token_hex
from threading import Thread
from typing import Any, BinaryIO, cast

import httpx

from app.cli import interrupts
from swarmhold.tls import verification

_LONGEST_FRAME = 1024 * 1024
_RECONNECT_S = 60.0
"""How long a request is sent again while the server is away."""
_FIRST_PAUSE_S, _LONGEST_PAUSE_S = 0.1, 2.0
_TIMEOUT = httpx.Timeout(5.0, read=90.0, pool=None)

_PARSE_ERROR, _INVALID_REQUEST, _INTERNAL_ERROR = -32700, -32600, -32603
_NAMED = {
    **dict.fromkeys(("tools/call", "prompts/get"), "name"),
    "resources/read": "uri",
    **dict.fromkeys(("tasks/get", "tasks/update", "tasks/cancel"), "taskId"),
}
_PLAIN = re.compile(r"[!-~](?:[ -~]*[!-~])?")
_VERSION = "io.modelcontextprotocol/protocolVersion"
_LISTEN = "subscriptions/listen"
_ONCE, _TOOL_USE = "io.swarmhold/once", "claudecode/toolUseId"

Frame = dict[str, Any]


def run(url: str, credential: str) -> None:
    """Serve until standard input ends and every request is answered, or nobody reads standard output."""
    frames, sys.stdout = sys.stdout.buffer, sys.stderr
    try:
        interrupts.run(_Bridge(url, credential, frames).serve())
    except* BrokenPipeError:
        pass


class _Bridge:
    """Sends each request to the server by itself; the server keeps no connection, so that any may be lost."""

    def __init__(self, url: str, credential: str, frames: BinaryIO) -> None:
        self._url = url
        self._frames = frames
        self._http = httpx.AsyncClient(
            headers={"Authorization": f"Bearer {credential}", "Accept": "application/json, text/event-stream"},
            timeout=_TIMEOUT,
            limits=httpx.Limits(max_connections=None),
            trust_env=False,
            verify=verification(url),
        )
        self._version: str | None = None
        self._session: str | None = None
        self._calls: dict[str, asyncio.Task[None]] = {}

    async def serve(self) -> None:
        async with self._http, asyncio.TaskGroup() as group:
            lines: asyncio.Queue[bytes] = asyncio.Queue()
            # A thread that may block for ever: the program ends without it.
            Thread(target=_read_lines, args=(asyncio.get_running_loop(), lines), daemon=True).start()
            while line := await lines.get():
                if len(line) > _LONGEST_FRAME:
                    self._fail(None, _PARSE_ERROR, "A message may have 1 MiB.")
                elif line.strip():
                    self._receive(line, group)

    def _receive(self, line: bytes, group: asyncio.TaskGroup) -> None:
        try:
            frame = json.loads(line)
        except (ValueError, RecursionError):
            self._fail(None, _PARSE_ERROR, "This is no JSON.")
            return
        if not isinstance(frame, dict):
            self._fail(None, _INVALID_REQUEST, "A message is one JSON object.")
            return
        request = cast("Frame", frame)
        if "method" in request and isinstance(request.get("id"), int | str):
            key = repr(request["id"])
            self._calls[key] = group.create_task(self._answer(request))
            self._calls[key].add_done_callback(lambda done: self._forget(key, done))
        elif request.get("method") == "notifications/cancelled":
            # Of all notifications it alone means something to a server without sessions: nobody waits any more.
            if call := self._calls.get(repr(_params(request).get("requestId"))):
                call.cancel()
        elif "method" not in request and ("result" in request or "error" in request):
            group.create_task(self._reply(request))
        elif "id" in request and "method" in request:
            self._fail(None, _INVALID_REQUEST, "The id of a request is a text or a number.")

    def _forget(self, key: str, done: asyncio.Task[None]) -> None:
        if self._calls.get(key) is done:
            del self._calls[key]

    async def _answer(self, request: Frame) -> None:
        _name_once(request)
        try:
            status, value = await self._sent(request, self._headers(request))
        except httpx.HTTPError as error:
            why = f"The server cannot be reached ({type(error).__name__}). Is it running, and SWARMHOLD_URL right?"
            self._fail(request["id"], _INTERNAL_ERROR, why)
            return
        self._pass_on(request, status, value)

    async def _reply(self, frame: Frame) -> None:
        """Pass on what the client replies to a request of the server, which says nothing to it."""
        with contextlib.suppress(httpx.HTTPError):
            await self._sent(frame, self._headers(frame))

    async def _sent(self, frame: Frame, headers: dict[str, str]) -> tuple[int, Frame]:
        """Return status and value of the reply; while the server is away or ends, send it again. Raises HTTPError."""
        body = json.dumps(frame, ensure_ascii=False).encode("utf-8", "surrogatepass")
        until, pause = 0.0, _FIRST_PAUSE_S
        while True:
            try:
                async with self._http.stream("POST", self._url, content=body, headers=headers) as reply:
                    if reply.status_code != 503 or (until and time.monotonic() >= until):
                        return reply.status_code, await self._read(frame, reply)
            except httpx.TransportError:
                # What a stream of notifications says is lost with it, which the client has to know.
                if frame.get("method") == _LISTEN or (until and time.monotonic() >= until):
                    raise
            until = until or time.monotonic() + _RECONNECT_S
            await asyncio.sleep(pause)
            pause = min(2 * pause, _LONGEST_PAUSE_S)

    async def _read(self, frame: Frame, reply: httpx.Response) -> Frame:
        """Return the value of a reply, of a stream the last one; pass on those before it. Raises TransportError."""
        if frame.get("method") == "initialize":
            self._session = reply.headers.get("mcp-session-id")
        if not reply.headers.get("content-type", "").startswith("text/event-stream"):
            return _decoded(await reply.aread())
        async for line in reply.aiter_lines():
            if line.startswith("data:"):
                value = _decoded(line.removeprefix("data:"))
                if "method" not in value:
                    return value
                self._write(value)
        raise httpx.RemoteProtocolError("the stream ended before the reply")

    def _headers(self, request: Frame) -> dict[str, str]:
        """Return what HTTP repeats of a request; its revision is its own, or that of the handshake."""
        params, method = _params(request), request.get("method", "")
        meta = params.get("_meta")
        version = cast("Frame", meta).get(_VERSION) if isinstance(meta, dict) else None
        if method == "initialize":
            self._version = self._session = None
        said = {"Content-Type": "application/json", "MCP-Protocol-Version": version or self._version}
        if version is not None:
            said |= {"Mcp-Method": method, "Mcp-Name": params.get(_NAMED.get(method, ""))}
        elif self._session is not None:
            said["Mcp-Session-Id"] = self._session
        return {name: _header(value) for name, value in said.items() if isinstance(value, str)}

    def _pass_on(self, request: Frame, status: int, value: Frame) -> None:
        if "jsonrpc" in value:
            result = value.get("result")
            if request["method"] == "initialize" and isinstance(result, dict):
                self._version = cast("Frame", result).get("protocolVersion")
            self._write(value if value.get("id") is not None else {**value, "id": request["id"]})
            return
        detail = str(value.get("detail") or value.get("title") or f"The server answered {status}.")
        if status == 401:
            detail += " Set SWARMHOLD_KEY or SWARMHOLD_HANDLE to one that this server accepts."
        code = value.get("code")
        self._fail(request["id"], _INTERNAL_ERROR, detail, {"code": code} if code else None)

    def _fail(self, name: Any, code: int, message: str, data: Frame | None = None) -> None:
        error = {"code": code, "message": message} | ({} if data is None else {"data": data})
        self._write({"jsonrpc": "2.0", "id": name, "error": error})

    def _write(self, frame: Frame) -> None:
        self._frames.write(json.dumps(frame).encode() + b"\n")
        self._frames.flush()


def _read_lines(loop: asyncio.AbstractEventLoop, lines: asyncio.Queue[bytes]) -> None:
    """Put each line of standard input, the beginning of one that is too long, and nothing at the end."""
    # A reader of its own: the interpreter does not wait for its lock when it ends.
    with os.fdopen(0, "rb", closefd=False) as source, contextlib.suppress(RuntimeError):  # the loop is closed
        while line := source.readline(_LONGEST_FRAME + 1):
            rest = line
            while rest and not rest.endswith(b"\n"):
                rest = source.readline(_LONGEST_FRAME)
            loop.call_soon_threadsafe(lines.put_nowait, line)
        loop.call_soon_threadsafe(lines.put_nowait, b"")


def _params(request: Frame) -> Frame:
    params = request.get("params")
    return cast("Frame", params) if isinstance(params, dict) else {}


def _name_once(request: Frame) -> None:
    """Name a call of a tool that has no name of its own, so that sending it again finds what it made."""
    if request["method"] != "tools/call" or not (params := _params(request)):
        return
    arguments, meta = params.get("arguments"), params.setdefault("_meta", {})
    has_once = isinstance(arguments, dict) and "once" in arguments
    if isinstance(meta, dict) and not has_once and not {_ONCE, _TOOL_USE} & cast("Frame", meta).keys():
        cast("Frame", meta)[_ONCE] = token_hex(16)


def _header(value: str) -> str:
    """Return a text as the value of a header, which has visible ASCII alone."""
    if _PLAIN.fullmatch(value) and not value.startswith("=?base64?"):
        return value
    return f"=?base64?{b64encode(value.encode('utf-8', 'replace')).decode()}?="


def _decoded(content: bytes | str) -> Frame:
    try:
        value = json.loads(content)
    except ValueError:
        return {}
    return cast("Frame", value) if isinstance(value, dict) else {}
