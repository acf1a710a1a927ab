"""What a program says on standard error: to the log line by line, its last words kept for the failure's detail."""

from __future__ import annotations

import structlog

from app.spawning.failures import printable
from app.spawning.pipes import ReadPipe

LONGEST_LINE = 8 * 1024
TAIL_BYTES = 2 * 1024

_log = structlog.get_logger(__name__)


class Complaints:
    """Standard error of one child. Keeps TAIL_BYTES of it, however much there is."""

    def __init__(self, *, task_id: str, attempt: int, program: str) -> None:
        self._log = _log.bind(task_id=task_id, attempt=attempt, program=program)
        self._line = bytearray()
        self._tail = bytearray()
        self._cut = False

    async def read(self, pipe: ReadPipe) -> None:
        """Pump it to its end."""
        while data := await pipe.read():
            self._keep(data)
            *complete, self._line = (self._line + data).split(b"\n")
            for line in complete:
                self._tell(line)
            if len(self._line) > LONGEST_LINE:
                self._tell(self._line)
                self._line = bytearray()
        self._tell(self._line)

    def tail(self) -> str:
        """The last words, on one line; only whole words when there was more."""
        kept = bytes(self._tail)
        if self._cut:
            kept = kept.split(maxsplit=1)[-1]
        return printable(kept.decode(errors="replace"), longest=TAIL_BYTES)

    def _keep(self, data: bytes) -> None:
        self._tail += data[-TAIL_BYTES:]
        if len(self._tail) > TAIL_BYTES or len(data) > TAIL_BYTES:
            self._cut = True
            del self._tail[:-TAIL_BYTES]

    def _tell(self, line: bytes | bytearray) -> None:
        if line:
            self._log.debug("program_stderr", line=printable(line[:LONGEST_LINE].decode(errors="replace")))
