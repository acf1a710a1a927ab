"""A command under a pseudo-terminal, as a person has it: what it shows is read, keys are pressed."""

import contextlib
import os
import pty
import re
import select
import signal
import struct
import subprocess
import termios
import time
from collections.abc import Mapping, Sequence
from fcntl import ioctl
from types import TracebackType
from typing import Self

from tests.support.waiting import DeadlinePassedError

_SEQUENCES = re.compile(r"\x1b\[[0-?]*[ -/]*[@-~]|\x1b[@-_]|\r")


def _as_a_shell_would() -> None:
    """In the new process: take the terminal, and let Ctrl-C reach it, also where the tests themselves ignore it."""
    ioctl(0, termios.TIOCSCTTY, 0)
    signal.signal(signal.SIGINT, signal.SIG_DFL)


class Terminal:
    """One command with a terminal of its own. Leaving it as a context ends the command. Blocks its caller."""

    def __init__(
        self, command: Sequence[str], *, env: Mapping[str, str] | None = None, columns: int = 120, rows: int = 40
    ) -> None:
        self._master, slave = pty.openpty()
        ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))
        self.process = subprocess.Popen(
            command,
            stdin=slave,
            stdout=slave,
            stderr=slave,
            env={**os.environ, "TERM": "xterm-256color", **(env or {})},
            start_new_session=True,
            preexec_fn=_as_a_shell_would,  # noqa: PLW1509 - the calls take no lock that a thread may hold
        )
        os.close(slave)
        self.raw = b""
        self._read_to = 0

    @property
    def text(self) -> str:
        """Everything that was shown so far, without the sequences that move and colour."""
        return _SEQUENCES.sub("", self.raw.decode(errors="replace"))

    def press(self, keys: str) -> None:
        """Type; a line ends with `\\n`."""
        os.write(self._master, keys.encode())

    def see(self, wanted: str, *, within: float = 60.0) -> str:
        """Wait until a text is shown behind what was seen before; everything up to and with it.

        Raises `DeadlinePassedError`, also when the command ends without having shown it.
        """
        deadline = time.monotonic() + within
        while (at := self.text.find(wanted, self._read_to)) < 0:
            if not self._receive(deadline - time.monotonic()):
                raise DeadlinePassedError(f"the terminal to show {wanted!r}", within, self.text[-2000:])
        before, self._read_to = self._read_to, at + len(wanted)
        return self.text[before : self._read_to]

    def wait(self, *, within: float = 60.0) -> int:
        """Read to the end of the command; its exit status."""
        deadline = time.monotonic() + within
        while self._receive(deadline - time.monotonic()):
            pass
        return self.process.wait(timeout=max(0.1, deadline - time.monotonic()))

    def _receive(self, seconds: float) -> bool:
        """Read what is there; False at the end of the output or of the time."""
        if seconds <= 0 or not select.select([self._master], [], [], seconds)[0]:
            return False
        try:
            data = os.read(self._master, 65536)
        except OSError:  # Linux says so when the last process with the terminal has gone
            return False
        self.raw += data
        return bool(data)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()
        os.close(self._master)
