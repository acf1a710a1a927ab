"""A senior's console: questions arrive and answers go back over a WebSocket that reconnects by itself."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator
from typing import Self

from swarmhold.inbox import Inbox
from swarmhold.models.frames import Ask, BackendServerFrame, backend_server_frames
from swarmhold.models.numbers import decode
from swarmhold.models.shapes import JsonValue
from swarmhold.sockets import ReconnectingSocket
from swarmhold.transport import Transport, segment

log = logging.getLogger(__name__)


def read_frame(text: str | bytes) -> BackendServerFrame | None:
    """Return the frame of a message; None for one that this version does not know."""
    try:
        return backend_server_frames.validate_python(decode(text))
    except ValueError:
        log.warning("unknown frame skipped", extra={"bytes": len(text)})
        return None


class Console:
    """A senior console, registered under its bridge id while connected. Use it as an async context manager.

    Entering waits for the first connection, however long the server is away. A newer console under the same id ends
    this one: whatever is awaited here then raises Disconnected with 4409.

        async with senior.console("desk-1") as console:
            async for ask in console:
                await console.answer(ask.key, {"go": True})
    """

    def __init__(self, transport: Transport, bridge_id: str, *, path: str | None = None) -> None:
        self.bridge_id = bridge_id
        self._inbox = Inbox()
        self._socket = ReconnectingSocket(
            transport,
            path or f"/v1/senior/bridges/{segment(bridge_id)}/ws",
            on_open=self._inbox.unanswered_frames,
            on_text=self._receive_text,
            on_end=self._inbox.end,
            on_too_big=lambda: self._inbox.refuse_all("payload-too-large", "the frame exceeds the server's limit"),
        )

    async def __aenter__(self) -> Self:
        await self._socket.__aenter__()
        try:
            await self._inbox.welcomed.wait()
            self._inbox.check()
        except BaseException:
            await self._socket.__aexit__()
            raise
        return self

    async def __aexit__(self, *exception: object) -> None:
        await self._socket.__aexit__(*exception)

    async def __aiter__(self) -> AsyncIterator[Ask]:
        while True:
            yield await self.next_ask()

    @property
    def open(self) -> list[Ask]:
        """The questions delivered here that still wait, oldest delivery first."""
        return self._inbox.open

    async def next_ask(self) -> Ask:
        """Wait for the next question and return it: each once, however often it is delivered. Cancelling loses none.

        Raises:
            Disconnected: the server has ended this console for good.
        """
        return await self._inbox.next_ask()

    async def answer(self, key: str, value: JsonValue, *, comment: str | None = None) -> None:
        """Answer a question and return once the answer is durable. It is sent again on a new connection as needed.

        Cancelled, the answer may count or not.

        Raises:
            AnswerRejected: it does not count; after `answer-invalid` another may be tried.
            InvalidArgument: the value is not JSON.
            Disconnected: as for `next_ask`.
        """
        text, reply = self._inbox.begin_answer(key, value, comment)
        try:
            await self._socket.send(text)
            await reply
        finally:
            self._inbox.forget(key)

    def _receive_text(self, text: str | bytes) -> None:
        frame = read_frame(text)
        if frame is not None:
            self._receive(frame)

    def _receive(self, frame: BackendServerFrame) -> None:
        self._inbox.receive(frame)
