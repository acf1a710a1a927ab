"""The desk: which questions lie open and which answers are on their way. No I/O; a console puts a link to it."""

from __future__ import annotations

import asyncio
import logging
from dataclasses import dataclass, field

import orjson

from swarmhold.errors import AnswerRejected, ClientError
from swarmhold.models.frames import Accepted, Answer, Ask, BackendServerFrame, ErrorFrame, Rejected, Welcome, Withdrawn
from swarmhold.models.shapes import JsonValue

log = logging.getLogger(__name__)

_STILL_OPEN = "answer-invalid"


@dataclass(slots=True)
class _Pending:
    """An answer without a reply yet: its frame, kept for the next connection, and who waits for the reply."""

    text: str
    reply: asyncio.Future[None] = field(default_factory=lambda: asyncio.get_running_loop().create_future())


class Desk:
    """Sorts what a console hears. Every question is handed out once, however often the server delivers it."""

    def __init__(self) -> None:
        self.welcomed = asyncio.Event()
        """Set with the first welcome, or when it will never come."""
        self._open: dict[str, Ask] = {}
        self._fresh: asyncio.Queue[str | None] = asyncio.Queue()
        self._pending: dict[str, _Pending] = {}
        self._end: ClientError | None = None

    @property
    def open(self) -> list[Ask]:
        """The questions that were delivered and, as far as is known here, still wait."""
        return list(self._open.values())

    def hear(self, frame: BackendServerFrame) -> None:
        """Take in one frame; the ones of a backend are not the desk's."""
        match frame:
            case Welcome():
                self.welcomed.set()
            case Ask():
                if frame.key not in self._open:
                    self._fresh.put_nowait(frame.key)
                self._open[frame.key] = frame
            case Accepted():
                self._open.pop(frame.key, None)
                self._settle(frame.key, None)
            case Rejected():
                if frame.code != _STILL_OPEN:
                    self._open.pop(frame.key, None)
                self._settle(frame.key, AnswerRejected(frame.key, frame.code, frame.detail))
            case Withdrawn():
                self._open.pop(frame.key, None)
            case ErrorFrame():
                self._refuse_oldest(frame.code, frame.detail)
            case _:
                pass

    async def next_ask(self) -> Ask:
        """The next question that is still open. Cancelling loses none.

        Raises:
            Disconnected: the link has ended.
        """
        while True:
            if self._end is not None and self._fresh.empty():
                raise self._end
            key = await self._fresh.get()
            ask = None if key is None else self._open.get(key)
            if ask is not None:
                return ask

    def begin_answer(self, key: str, value: JsonValue) -> tuple[str, asyncio.Future[None]]:
        """The frame to send, and the reply to await; `forget` it in the end.

        Raises:
            RuntimeError: another answer to this question is on its way.
            Disconnected: the link has ended.
        """
        if self._end is not None:
            raise self._end
        if key in self._pending:
            raise RuntimeError(f"an answer to {key} is already on its way")
        pending = _Pending(as_text(Answer(key=key, value=value)))
        self._pending[key] = pending
        return pending.text, pending.reply

    def forget(self, key: str) -> None:
        """Stop resending the answer to this question."""
        self._pending.pop(key, None)

    def unanswered_frames(self) -> list[str]:
        """What a new connection has to send: answers whose reply was lost. The same answer twice does no harm."""
        return [pending.text for pending in self._pending.values() if not pending.reply.done()]

    def refuse_all(self, code: str, detail: str) -> None:
        """Fail every answer on its way: the connection died of one of them."""
        for key in list(self._pending):
            self._settle(key, AnswerRejected(key, code, detail))

    def end(self, reason: ClientError) -> None:
        """The link has ended: whoever waits here is told."""
        self._end = reason
        for key in list(self._pending):
            self._settle(key, reason)
        self._fresh.put_nowait(None)
        self.welcomed.set()

    def check(self) -> None:
        """Raise why the link has ended, if it has."""
        if self._end is not None:
            raise self._end

    def _settle(self, key: str, error: ClientError | None) -> None:
        pending = self._pending.get(key)
        if pending is None or pending.reply.done():
            return
        if error is None:
            pending.reply.set_result(None)
        else:
            pending.reply.set_exception(error)

    def _refuse_oldest(self, code: str, detail: str) -> None:
        # An error frame names no question; replies keep their order, so it is about the oldest answer, if any.
        log.warning("the server could not use a frame", extra={"code": code, "detail": detail})
        key = next(iter(self._pending), None)
        if key is not None:
            self._settle(key, AnswerRejected(key, code, detail))


def as_text(frame: Answer) -> str:
    """The frame as it is sent."""
    return orjson.dumps(frame.model_dump(mode="json")).decode()
