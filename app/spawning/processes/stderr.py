"""Standard error of a child: logged line by line, its tail kept for the failure's detail."""

from __future__ import annotations

import structlog

from app.domain.redaction import printable
from app.spawning.processes.pipes import ReadPipe

LONGEST_LINE = 8 * 1024
TAIL_BYTES = 2 * 1024

_log = structlog.get_logger(__name__)


class StderrTail:
    """Logs the standard error of one child and keeps its last TAIL_BYTES."""

    def __init__(self, *, task_id: str, attempt: int, program: str) -> None:
        self._log = _log.bind(task_id=task_id, attempt=attempt, program=program)
        self._line = bytearray()
        self._tail = bytearray()
        self._cut = False

    async def read(self, pipe: ReadPipe) -> None:
        """Read the pipe to its end."""
        while data := await pipe.read():
            self._keep(data)
            *complete, self._line = (self._line + data).split(b"\n")
            for line in complete:
                self._log_line(line)
            if len(self._line) > LONGEST_LINE:
                self._log_line(self._line)
                self._line = bytearray()
        self._log_line(self._line)

    def tail(self) -> str:
        """Return the tail on one line, cut at a word when there was more."""
        kept = bytes(self._tail)
        if self._cut:
            kept = kept.split(maxsplit=1)[-1]
        return printable(kept.decode(errors="replace"), longest=TAIL_BYTES)

    def _keep(self, data: bytes) -> None:
        self._tail += data[-TAIL_BYTES:]
        if len(self._tail) > TAIL_BYTES or len(data) > TAIL_BYTES:
            self._cut = True
            del self._tail[:-TAIL_BYTES]

    def _log_line(self, line: bytes | bytearray) -> None:
        if line:
            self._log.debug("program_stderr", line=printable(line[:LONGEST_LINE].decode(errors="replace")))
