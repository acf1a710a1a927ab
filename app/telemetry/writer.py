"""A log writer that never blocks and never raises: a bounded queue in front of a thread.

A line that cannot be written (closed pipe, terminal that is gone, full disk) or for which there is no room (a reader
that stands still) is dropped and counted. Nothing that logs is ever held up by its log.
"""

from __future__ import annotations

import os
import threading
from collections import deque
from time import monotonic
from typing import Protocol

MAX_LINES = 10_000
MAX_BYTES = 8 * 1024 * 1024
FLUSH_S = 1.0
"""How long `close` waits for the reader of the log."""


class Sink(Protocol):
    """Where lines go. May block and may raise OSError or ValueError."""

    def write(self, data: bytes, /) -> object:
        """Write all of `data`."""
        ...


class FileDescriptor:
    """A sink that writes to a file descriptor, all of the data or an error."""

    def __init__(self, number: int) -> None:
        self._number = number

    def write(self, data: bytes, /) -> None:
        """Write all of `data`. Raises OSError."""
        view = memoryview(data)
        while view:
            view = view[os.write(self._number, view) :]


class LogWriter:
    """Writes lines to a sink from a thread of its own.

    `put` may be called from any thread. Lines are written in the order in which they were put; those that find the
    queue full, or that the sink refuses, are counted in `dropped`.
    """

    def __init__(self, sink: Sink, *, max_lines: int = MAX_LINES, max_bytes: int = MAX_BYTES) -> None:
        self._sink = sink
        self._max_lines = max_lines
        self._max_bytes = max_bytes
        self._lines: deque[bytes] = deque()
        self._size = 0
        self._writing = 0
        self._dropped = 0
        self._closing = False
        self._changed = threading.Condition()
        self._thread: threading.Thread | None = None

    @property
    def dropped(self) -> int:
        """Return how many lines were not written since the process started."""
        return self._dropped

    def put(self, line: str) -> None:
        """Queue one line, without its end. Never blocks, never raises."""
        data = line.encode("utf-8", "backslashreplace") + b"\n"
        with self._changed:
            if len(self._lines) >= self._max_lines or self._size + len(data) > self._max_bytes:
                self._dropped += 1
                return
            self._lines.append(data)
            self._size += len(data)
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="log-writer", daemon=True)
                self._thread.start()
            self._changed.notify_all()

    def close(self, timeout_s: float = FLUSH_S) -> None:
        """Wait until everything queued is written, `timeout_s` seconds at most. Lines may still be put afterwards."""
        end = monotonic() + timeout_s
        with self._changed:
            while (self._lines or self._writing) and (left := end - monotonic()) > 0:
                self._changed.wait(left)

    def _run(self) -> None:
        while True:
            with self._changed:
                while not self._lines:
                    self._changed.wait()
                batch = list(self._lines)
                self._writing = len(batch)
                self._lines.clear()
                self._size = 0
            self._write(batch)
            with self._changed:
                self._writing = 0
                self._changed.notify_all()

    def _write(self, batch: list[bytes]) -> None:
        try:
            self._sink.write(b"".join(batch))
        except (OSError, ValueError):
            # Nobody reads the log, so there is nowhere to report this.
            with self._changed:
                self._dropped += len(batch)
