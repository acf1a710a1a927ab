"""The state of a console: open questions, and answers without a reply yet. No I/O; a console adds the WebSocket."""

from __future__ import annotations

import asyncio
import logging
from dataclasses import dataclass, field

from swarmhold.encoding import encode
from swarmhold.errors import AnswerRejected, Error
from swarmhold.models.frames import Accepted, Answer, Ask, BackendServerFrame, ErrorFrame, Rejected, Welcome, Withdrawn
from swarmhold.models.shapes import JsonValue, given

log = logging.getLogger(__name__)

_STILL_OPEN = "answer-invalid"


@dataclass(slots=True)
class _Pending:
    """An answer without a reply yet: its frame, kept for the next connection, and the future of the reply."""

    text: str
    reply: asyncio.Future[None] = field(default_factory=lambda: asyncio.get_running_loop().create_future())


class Inbox:
    """Open questions and pending answers. `next_ask` returns every question once, however often it is delivered."""

    def __init__(self) -> None:
        self.welcomed = asyncio.Event()
        """Set by the first welcome, or when the connection has ended for good."""
        self._open: dict[str, Ask] = {}
        self._fresh: asyncio.Queue[str | None] = asyncio.Queue()
        self._pending: dict[str, _Pending] = {}
        self._end: Error | None = None

    @property
    def open(self) -> list[Ask]:
        """The questions that were delivered and, as far as is known here, are open."""
        return list(self._open.values())

    def receive(self, frame: BackendServerFrame) -> None:
        """Take one frame; those for a backend alone are ignored."""
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
        """Wait for the next question that is still open and return it. Cancelling loses none.

        Raises:
            Disconnected: the connection has ended for good.
        """
        while True:
            if self._end is not None and self._fresh.empty():
                raise self._end
            key = await self._fresh.get()
            ask = None if key is None else self._open.get(key)
            if ask is not None:
                return ask

    def begin_answer(self, key: str, value: JsonValue, comment: str | None = None) -> tuple[str, asyncio.Future[None]]:
        """Return the frame to send and the reply to await; call `forget` in the end.

        Raises:
            AnswerRejected: another answer to this question waits for its reply (`answer-pending`).
            Disconnected: the connection has ended for good.
        """
        if self._end is not None:
            raise self._end
        if key in self._pending:
            raise AnswerRejected(key, "answer-pending", "another answer waits for its reply; await that one first")
        pending = _Pending(encode(Answer(key=key, value=value, **given(comment=comment))).decode())
        self._pending[key] = pending
        return pending.text, pending.reply

    def forget(self, key: str) -> None:
        """Stop sending the answer to this question."""
        self._pending.pop(key, None)

    def unanswered_frames(self) -> list[str]:
        """Return what a new connection has to send: answers without a reply. A repeated answer does no harm."""
        return [pending.text for pending in self._pending.values() if not pending.reply.done()]

    def refuse_all(self, code: str, detail: str) -> None:
        """Reject every pending answer: one of them made the server close the connection."""
        for key in list(self._pending):
            self._settle(key, AnswerRejected(key, code, detail))

    def end(self, reason: Error) -> None:
        """Raise `reason` in every waiter: the connection has ended for good."""
        self._end = reason
        for key in list(self._pending):
            self._settle(key, reason)
        self._fresh.put_nowait(None)
        self.welcomed.set()

    def check(self) -> None:
        """Raise the reason if the connection has ended for good."""
        if self._end is not None:
            raise self._end

    def _settle(self, key: str, error: Error | None) -> None:
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
