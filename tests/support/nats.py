"""A real NATS server from the development dependencies."""

import contextlib
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from tests.support.ports import LOOPBACK, accepts, free_port
from tests.support.waiting import wait_until

START_TRIES = 3


class NatsFailedError(RuntimeError):
    """The server ended instead of starting; the message holds what it logged."""


@dataclass(slots=True)
class NatsServer:
    """One server on 127.0.0.1 whose log goes to `log_file`. Not safe for concurrent use."""

    log_file: Path
    port: int = 0
    _process: subprocess.Popen[bytes] | None = field(default=None, repr=False)

    @property
    def url(self) -> str:
        """Where clients connect to."""
        return f"nats://{LOOPBACK}:{self.port}"

    @property
    def pid(self) -> int:
        """The server's process id while it runs."""
        assert self._process is not None, "the server is not running"
        return self._process.pid

    def start(self, *, within: float = 60.0) -> None:
        """Start the server and return when it accepts connections. Started again it keeps its port."""
        chosen = self.port
        for remaining in reversed(range(START_TRIES)):
            self.port = chosen or free_port()
            try:
                self._launch(within=within)
                return
            except NatsFailedError:
                # Another process may have taken the port in between; one that clients know already is never changed.
                if chosen or not remaining:
                    raise

    def stop(self) -> None:
        """End the server in good order."""
        self._end(signal.SIGTERM)

    def kill(self) -> None:
        """End the server at once; `start` brings it back on the same port."""
        self._end(signal.SIGKILL)

    def pause(self) -> None:
        """Freeze the server: connections stay open and nothing answers."""
        self._signal(signal.SIGSTOP)

    def resume(self) -> None:
        """Let a paused server go on."""
        self._signal(signal.SIGCONT)

    def logs(self) -> str:
        """Everything the server wrote."""
        return self.log_file.read_text(errors="replace") if self.log_file.exists() else ""

    def _launch(self, *, within: float) -> None:
        with self.log_file.open("ab") as log:
            self._process = subprocess.Popen(
                [_binary(), "--addr", LOOPBACK, "--port", str(self.port)],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        wait_until(self._answers, within=within, awaited="NATS to accept connections")

    def _answers(self) -> bool:
        assert self._process is not None
        if self._process.poll() is not None:
            raise NatsFailedError(f"nats-server ended with status {self._process.returncode}:\n{self.logs()}")
        return accepts(self.port)

    def _signal(self, which: signal.Signals) -> None:
        assert self._process is not None, "the server is not running"
        self._process.send_signal(which)

    def _end(self, how: signal.Signals) -> None:
        process, self._process = self._process, None
        if process is None:
            return
        if process.poll() is None:
            process.send_signal(how)
            process.send_signal(signal.SIGCONT)
        try:
            process.wait(timeout=10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


@contextlib.contextmanager
def running_nats(log_file: Path) -> Iterator[NatsServer]:
    """A started server that is ended on leaving."""
    server = NatsServer(log_file)
    try:
        server.start()
        yield server
    finally:
        server.stop()


def _binary() -> str:
    beside = Path(sys.executable).with_name("nats-server")
    found = str(beside) if beside.exists() else shutil.which("nats-server")
    assert found, "nats-server is not installed; `make venv` installs it"
    return found
