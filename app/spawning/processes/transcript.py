"""Decode a program's standard output: one JSON document, lines of output events, or plain text.

The first line that is not blank decides: when it is an output event, every line is expected to be one.
"""

from __future__ import annotations

from app.domain.errors import PayloadTooLarge
from app.domain.json import Json, decode
from app.domain.outputs import Final, OutputEvent
from app.spawning.outputs import as_event


class OutputTooLong(Exception):
    """The program wrote more than it may."""


class Transcript:
    """Decodes standard output piece by piece; does no I/O. Not to be used after OutputTooLong or `close`."""

    def __init__(self, *, limit_bytes: int) -> None:
        self._limit = limit_bytes
        self._size = 0
        self._buffer = bytearray()
        self._lines = 0
        self._events: bool | None = None
        self.final: Final | None = None
        """The first Final among the events."""
        self.malformed: str | None = None
        """The first line among events that is not an event."""

    @property
    def explicit(self) -> bool:
        """Whether `final` came as an event rather than as the whole output."""
        return self._events is True and self.final is not None

    def feed(self, data: bytes) -> list[OutputEvent]:
        """Decode the next bytes and return the events that they complete. Raises OutputTooLong."""
        self._size += len(data)
        if self._size > self._limit:
            raise OutputTooLong
        self._buffer += data
        if self._events is False or b"\n" not in data:
            return []
        return self._complete(keep_last=True)

    def close(self) -> list[OutputEvent]:
        """Decode the end of the output and return the last event; `final` is then set for documents and text too."""
        found = [] if self._events is False else self._complete(keep_last=False)
        if self._events is not True:
            self.final = _document(bytes(self._buffer))
        return found

    def _complete(self, *, keep_last: bool) -> list[OutputEvent]:
        if self._events is None:
            self._decide(keep_last=keep_last)
        if not self._events:
            return []
        lines = self._buffer.split(b"\n")
        self._buffer = lines.pop() if keep_last else bytearray()
        return [event for line in lines if (event := self._line(line)) is not None]

    def _decide(self, *, keep_last: bool) -> None:
        lines = self._buffer.split(b"\n")
        complete = lines[:-1] if keep_last else lines
        first = next((line for line in complete if line.strip()), None)
        if first is not None:
            self._events = _event(first) is not None

    def _line(self, line: bytearray) -> OutputEvent | None:
        self._lines += 1
        if not line.strip():
            return None
        event = _event(line)
        if isinstance(event, Final):
            self.final = self.final or event
            return None
        if event is None:
            self.malformed = self.malformed or f"line {self._lines} of its output is not an output event"
        return event


def _event(line: bytearray) -> OutputEvent | Final | None:
    try:
        return as_event(decode(line))
    except (ValueError, PayloadTooLarge):
        return None


def _document(output: bytes) -> Final | None:
    try:
        return Final(value=Json.of(decode(output)), ok=True)
    except (ValueError, PayloadTooLarge):
        text = output.decode(errors="replace").rstrip()
        return Final(value=Json.of(text), ok=True) if text else None
