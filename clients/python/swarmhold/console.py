"""A senior's live console: questions arrive, answers go back, connections come and go underneath."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator
from typing import Self

import orjson
from pydantic import TypeAdapter, ValidationError

from swarmhold.desk import Desk
from swarmhold.links import Link
from swarmhold.models.frames import Ask, BackendServerFrame, backend_server_frames
from swarmhold.models.shapes import JsonValue
from swarmhold.transport import Transport, part

log = logging.getLogger(__name__)

_frames: TypeAdapter[BackendServerFrame] = backend_server_frames


def read_frame(text: str | bytes) -> BackendServerFrame | None:
    """The frame in a message; None for what is not one, such as a type that is yet to be invented."""
    try:
        return _frames.validate_python(orjson.loads(text))
    except (orjson.JSONDecodeError, ValidationError):
        log.warning("unknown frame skipped", extra={"bytes": len(text)})
        return None


class Console:
    """A senior console, registered under its bridge id while connected. Use it as an async context manager.

    Entering waits for the first welcome, however long the server is away. A newer console under the same id ends this
    one: whoever waits here then gets Disconnected with 4409.

        async with senior.console("desk-1") as console:
            async for ask in console:
                await console.answer(ask.key, {"go": True})
    """

    def __init__(self, transport: Transport, bridge_id: str, *, path: str | None = None) -> None:
        self.bridge_id = bridge_id
        self._desk = Desk()
        self._link = Link(
            transport,
            path or f"/v1/senior/bridges/{part(bridge_id)}/ws",
            on_open=self._desk.unanswered_frames,
            on_text=self._hear_text,
            on_end=self._desk.end,
            on_too_big=lambda: self._desk.refuse_all("payload-too-large", "the frame exceeds the server's limit"),
        )

    async def __aenter__(self) -> Self:
        await self._link.__aenter__()
        try:
            await self._desk.welcomed.wait()
            self._desk.check()
        except BaseException:
            await self._link.__aexit__()
            raise
        return self

    async def __aexit__(self, *exception: object) -> None:
        await self._link.__aexit__(*exception)

    async def __aiter__(self) -> AsyncIterator[Ask]:
        while True:
            yield await self.next_ask()

    @property
    def open(self) -> list[Ask]:
        """The questions delivered here that still wait, oldest delivery first."""
        return self._desk.open

    async def next_ask(self) -> Ask:
        """The next question: each once, though the server may deliver it often. Cancelling loses none.

        Raises:
            Disconnected: the server will not have this console any more.
        """
        return await self._desk.next_ask()

    async def answer(self, key: str, value: JsonValue) -> None:
        """Answer a question; returns when the answer is durable. It is sent again on a new connection as needed.

        Cancelled, the answer may count or not.

        Raises:
            AnswerRejected: it does not count; after `answer-invalid` another may be tried.
            Disconnected: as for `next_ask`.
        """
        text, reply = self._desk.begin_answer(key, value)
        try:
            await self._link.send(text)
            await reply
        finally:
            self._desk.forget(key)

    def _hear_text(self, text: str | bytes) -> None:
        frame = read_frame(text)
        if frame is not None:
            self._hear(frame)

    def _hear(self, frame: BackendServerFrame) -> None:
        self._desk.hear(frame)
