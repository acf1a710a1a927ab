"""A socket's other end, as bare as it can be: frames as dicts, waited for under a deadline."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import websockets
from websockets.asyncio.client import ClientConnection

from tests.support.processes import ServerProcess
from tests.support.serving import Node

Frame = dict[str, Any]
WITHIN = 60


class Speaker:
    """One connection."""

    def __init__(self, socket: ClientConnection) -> None:
        self.socket = socket

    async def say(self, **frame: Any) -> None:
        """Send a frame."""
        await self.socket.send(json.dumps(frame))

    async def receive(self) -> Frame:
        """The next frame."""
        async with asyncio.timeout(WITHIN):
            return json.loads(await self.socket.recv())

    async def receive_all(self, count: int) -> list[Frame]:
        """The next frames."""
        return [await self.receive() for _ in range(count)]

    async def ask_and_receive(self, **frame: Any) -> Frame:
        """The reply to a frame."""
        await self.say(**frame)
        return await self.receive()

    async def silent(self) -> bool:
        """Whether nothing was said before the reply to a ping."""
        return await self.ask_and_receive(type="ping") == {"type": "pong"}

    async def close_code(self) -> int:
        """The code that the server closes with, whatever it says before."""
        async with asyncio.timeout(WITHIN):
            try:
                while True:
                    await self.socket.recv()
            except websockets.ConnectionClosed as closed:
                return closed.rcvd.code if closed.rcvd else 1006


@asynccontextmanager
async def speaking(node: Node | ServerProcess, path: str, token: str | None, **options: Any) -> AsyncIterator[Speaker]:
    """A connection with a credential in its header."""
    headers = {} if token is None else {"Authorization": f"Bearer {token}"}
    async with websockets.connect(
        node.websocket_url + path, additional_headers=headers, max_size=None, proxy=None, **options
    ) as socket:
        yield Speaker(socket)
