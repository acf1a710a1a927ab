"""Decode a program's standard output: one JSON document, lines of output events, or plain text.

The first line that is not blank decides: when it is an output event, every line is expected to be one.
"""

from __future__ import annotations

import re

import orjson

from app.domain.errors import PayloadTooLarge
from app.domain.json import Json
from app.domain.json_size import decode_within
from app.domain.limits import Limits
from app.domain.outputs import Final, OutputEvent
from app.spawning.outputs import as_event

_NOT_BLANK = re.compile(rb"\S")
_BEGINNING = 64 * 1024
"""How many bytes decide whether long output is JSON, which has limits of its own, or text."""


class OutputTooLong(Exception):
    """The program wrote more than it may."""


class Transcript:
    """Decodes standard output piece by piece; does no I/O. Not to be used after OutputTooLong or `close`.

    JSON beyond the limits of values and digits is not decoded, and `malformed` says why.
    """

    def __init__(self, *, limit_bytes: int, limits: Limits | None = None) -> None:
        self._limit = limit_bytes
        self._limits = limits or Limits()
        self._size = 0
        self._buffer = bytearray()
        self._blank = 0
        self._lines = 0
        self._events: bool | None = None
        self.final: Final | None = None
        """The first Final among the events."""
        self.malformed: str | None = None
        """Why the first line among events that is none, or the whole document, cannot be used."""

    @property
    def explicit(self) -> bool:
        """Whether `final` came as an event rather than as the whole output."""
        return self._events is True and self.final is not None

    @property
    def buffered(self) -> int:
        """Bytes that wait for the end of their line or document, which the next call may have to decode."""
        return len(self._buffer)

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
            self.final = self._document()
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
        """Look at the first line that is not blank; the lines before it are looked at once."""
        first = _NOT_BLANK.search(self._buffer, self._blank)
        if first is None:
            self._blank = len(self._buffer)
            return
        self._blank = self._buffer.rfind(b"\n", 0, first.start()) + 1
        end = self._buffer.find(b"\n", first.start())
        if end < 0 and keep_last:
            return
        line = self._buffer[self._blank : end if end >= 0 else len(self._buffer)]
        try:
            self._events = as_event(self._decoded(line)) is not None
        except PayloadTooLarge as error:
            self._events = _is_json(line, error)
        except ValueError:
            self._events = False
        if self._events:
            self._lines = self._buffer.count(b"\n", 0, self._blank)
            del self._buffer[: self._blank]

    def _line(self, line: bytearray) -> OutputEvent | None:
        self._lines += 1
        if not line.strip():
            return None
        why = "is not an output event"
        try:
            event = as_event(self._decoded(line))
        except PayloadTooLarge as error:
            event, why = None, f"is too large: {error}"
        except ValueError:
            event = None
        if isinstance(event, Final):
            self.final = self.final or event
            return None
        if event is None:
            self.malformed = self.malformed or f"line {self._lines} of its output {why}"
        return event

    def _document(self) -> Final | None:
        output = bytes(self._buffer)
        try:
            return Final(value=Json.of(self._decoded(output)), ok=True)
        except PayloadTooLarge as error:
            if _is_json(output, error):
                self.malformed = f"its output is too large: {error}"
                return None
        except ValueError:
            pass
        text = output.decode(errors="replace").rstrip()
        return Final(value=Json.of(text), ok=True) if text else None

    def _decoded(self, text: bytes | bytearray) -> object:
        return decode_within(text, self._limits)


def _is_json(text: bytes | bytearray, error: PayloadTooLarge) -> bool:
    """Return whether a text beyond the limits is JSON, as far as its beginning tells."""
    if error.what == "digits":  # counted once the whole text was read
        return True
    beginning = text[:_BEGINNING].decode(errors="ignore")
    try:
        orjson.loads(beginning)
    except orjson.JSONDecodeError as fault:
        return fault.pos >= len(beginning)  # it was cut off there
    return True
