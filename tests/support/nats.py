"""A real NATS server from the development dependencies, as a child process on a free port."""

import contextlib
import signal
import socket
import subprocess
import sysconfig
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from tests.support.ports import LOOPBACK, free_port
from tests.support.waiting import wait_until


@dataclass(slots=True)
class NatsServer:
    """One server, which keeps its port when it is started again. Not safe for concurrent use."""

    port: int = field(default_factory=free_port)
    _process: subprocess.Popen[bytes] | None = field(default=None, repr=False)

    @property
    def url(self) -> str:
        """Where clients connect."""
        return f"nats://{LOOPBACK}:{self.port}"

    @property
    def pid(self) -> int:
        """Its process id while it runs."""
        assert self._process is not None, "the server is not running"
        return self._process.pid

    def start(self) -> None:
        """Start it, and return when it answers."""
        program = Path(sysconfig.get_path("scripts")) / "nats-server"
        self._process = subprocess.Popen(
            [str(program), "-a", LOOPBACK, "-p", str(self.port)], stderr=subprocess.DEVNULL
        )
        wait_until(self._answers, awaited="nats-server to answer")

    def kill(self) -> None:
        """End it at once. Calling it twice does nothing more."""
        process, self._process = self._process, None
        if process is not None:
            process.kill()
            process.wait()

    def pause(self) -> None:
        """Stand still with every connection open, until `resume`."""
        assert self._process is not None
        self._process.send_signal(signal.SIGSTOP)

    def resume(self) -> None:
        """Go on after `pause`."""
        assert self._process is not None
        self._process.send_signal(signal.SIGCONT)

    def _answers(self) -> bool:
        with contextlib.suppress(OSError), socket.create_connection((LOOPBACK, self.port), timeout=2):
            return True
        return False


@contextlib.contextmanager
def running_nats() -> Iterator[NatsServer]:
    """A started server that is ended on leaving."""
    server = NatsServer()
    try:
        server.start()
        yield server
    finally:
        server.kill()
