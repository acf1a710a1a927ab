"""An HTTP worker: a real server that is handed attempts, and replies as the test says."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any

import orjson

from app.spawning.outbound.signing import verify
from tests.support.ports import LOOPBACK
from tests.support.rigs.gates import Gates

SECRET = "signs what is posted to the rig's own site"
ACCEPTED = (202, None)

Reply = tuple[int, Any]
"""A status, and what goes as JSON unless it is None."""


@dataclass(slots=True)
class Posted:
    """One attempt as it was posted, as often as that was: the handles of all posts, the first one first."""

    handles: list[str] = field(default_factory=list[str])
    dropped: int = 0
    """How many of the posts were broken off before the reply."""


class Site:
    """What was posted, by task and attempt. A task whose gate `post` is shut waits for its reply; others get 202."""

    def __init__(self) -> None:
        self.port = 0
        self.posted: dict[tuple[str, int], Posted] = {}
        self.gates = Gates[Reply]()

    @property
    def url(self) -> str:
        """Where attempts are posted."""
        return f"http://{LOOPBACK}:{self.port}/run"

    async def take(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One post."""
        headers, body = await _request(reader)
        verify([SECRET.encode()], headers, body)
        job = orjson.loads(body)
        assert headers["idempotency-key"] == f"{job['task_id']}.{job['attempt']}"
        posted = self.posted.setdefault((job["task_id"], job["attempt"]), Posted())
        posted.handles.append(job["handle"])
        reply = await self._reply_unless_dropped(job["task_id"], reader)
        if reply is None:
            posted.dropped += 1
        else:
            writer.write(_response(*reply))
        with contextlib.suppress(ConnectionError):
            await writer.drain()
        writer.close()

    async def _reply_unless_dropped(self, task_id: str, reader: asyncio.StreamReader) -> Reply | None:
        """The reply; None when the server broke off first. A status of 0 breaks off from this side."""
        replying = asyncio.ensure_future(self.gates.passed("post", task_id, otherwise=ACCEPTED))
        dropping = asyncio.ensure_future(reader.read())
        await asyncio.wait({replying, dropping}, return_when=asyncio.FIRST_COMPLETED)
        for waiting in (replying, dropping):
            waiting.cancel()
        await asyncio.gather(replying, dropping, return_exceptions=True)
        if replying.cancelled():
            return None
        reply = replying.result()
        return reply if reply[0] else None


async def _request(reader: asyncio.StreamReader) -> tuple[dict[str, str], bytes]:
    head = (await reader.readuntil(b"\r\n\r\n")).decode()
    fields = (line.split(": ", 1) for line in head.strip().split("\r\n")[1:])
    headers = {name.lower(): value for name, value in fields}
    return headers, await reader.readexactly(int(headers["content-length"]))


def _response(status: int, body: Any) -> bytes:
    content = b"" if body is None else orjson.dumps(body)
    head = f"HTTP/1.1 {status} X\r\nContent-Length: {len(content)}\r\nConnection: close\r\n\r\n"
    return head.encode() + content


@contextlib.asynccontextmanager
async def open_site() -> AsyncIterator[Site]:
    """A site on a free port until the block ends."""
    site = Site()
    server = await asyncio.start_server(site.take, LOOPBACK, 0)
    site.port = server.sockets[0].getsockname()[1]
    try:
        yield site
    finally:
        site.gates.open_all()
        server.close()
