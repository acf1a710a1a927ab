"""A loopback proxy that adds a credential to each request, for programs that cannot send one.

It passes bytes on as they are, so that the server sees header fields as the program wrote them.
"""

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

from tests.support.ports import LOOPBACK

_REPLACED = (b"authorization:", b"connection:")

Chooser = Callable[[str], str]
"""Returns the credential for requests of a method of MCP."""


@asynccontextmanager
async def authorized(port: int, credential_for: Chooser) -> AsyncIterator[str]:
    """The address under which what listens on the port is served to whoever asks."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError, asyncio.IncompleteReadError), contextlib.closing(writer):
            await _forward(reader, writer, port, credential_for)

    server = await asyncio.start_server(serve, LOOPBACK, 0)
    async with server:
        yield f"http://{LOOPBACK}:{server.sockets[0].getsockname()[1]}"


async def _forward(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter, port: int, credential_for: Chooser
) -> None:
    """Pass one request on, and its reply until the server closes the connection."""
    request, *fields = (await reader.readuntil(b"\r\n\r\n")).removesuffix(b"\r\n\r\n").split(b"\r\n")
    length = next((int(line[15:]) for line in fields if line.lower().startswith(b"content-length:")), 0)
    body = await reader.readexactly(length)
    kept = [line for line in fields if not line.lower().startswith(_REPLACED)]
    own = [f"Authorization: Bearer {credential_for(_method(body))}".encode(), b"Connection: close"]
    upstream, sender = await asyncio.open_connection(LOOPBACK, port)
    with contextlib.closing(sender):
        sender.write(b"\r\n".join([request, *kept, *own, b"", body]))
        while part := await upstream.read(65_536):
            writer.write(part)
            await writer.drain()


def _method(body: bytes) -> str:
    """Return the method of a message, nothing for what is no message."""
    with contextlib.suppress(ValueError, AttributeError):
        return str(json.loads(body).get("method"))
    return ""
