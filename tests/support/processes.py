"""A node as its users run it: `swarmhold serve` in a process of its own, which may be killed and started again."""

import os
import signal
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Self

import httpx

from tests.support import moved_clock
from tests.support.forking import Forked
from tests.support.ports import LOOPBACK, NO_AUTHORITIES, free_port
from tests.support.waiting import wait_until

START_TRIES = 3


class ServerFailedError(RuntimeError):
    """The node ended instead of becoming ready; the message holds the end of its log."""


def own_variables() -> dict[str, str]:
    """Return the variables of this process without the server's settings."""
    return {name: value for name, value in os.environ.items() if not name.startswith("SWARMHOLD_")}


@dataclass(slots=True)
class ServerProcess:
    """A node with its own data directory and port.

    `settings` are `SWARMHOLD_*` variables; those of the tests' own environment do not reach it. It writes to the
    descriptor `output` where one is given, else to a log file, has `max_descriptors` of its own at most, and a clock
    that is `clock_ahead_s` ahead. Every method blocks its caller: use `asyncio.to_thread` inside a running loop. Not
    safe for concurrent use. Leaving it as a context stops it.

    It is forked from a process that has imported its code, which saves most of what a start costs. A `fresh` one is
    started as a shell does: for tests of its command line, of limits that it inherits, or of its memory.
    """

    data_dir: Path
    settings: Mapping[str, str] = field(default_factory=dict[str, str])
    port: int = 0
    arguments: tuple[str, ...] = ()
    log_file: Path | None = None
    output: int | None = None
    max_descriptors: int | None = None
    clock_ahead_s: int = 0
    fresh: bool = False
    _process: subprocess.Popen[bytes] | Forked | None = field(default=None, repr=False)

    @property
    def url(self) -> str:
        """The root of its HTTP routes, without a slash at the end."""
        return f"http://{LOOPBACK}:{self.port}"

    @property
    def websocket_url(self) -> str:
        """The root of its WebSocket routes, without a slash at the end."""
        return f"ws://{LOOPBACK}:{self.port}"

    @property
    def pid(self) -> int:
        """The node's process id while it runs."""
        assert self._process is not None, "the server is not running"
        return self._process.pid

    @property
    def running(self) -> bool:
        """Whether the process is alive."""
        return self._process is not None and self._process.poll() is None

    def start(self, *, within: float = 60.0) -> None:
        """Start the node and return when `/readyz` answers 200.

        After `kill` or `stop` it starts on the same port and data directory. Raises `ServerFailedError` as soon as the
        process ends, and `DeadlinePassedError` when it is not ready in time; the process is then ended.
        """
        assert not self.running, "the server is running already"
        chosen = self.port
        for remaining in reversed(range(START_TRIES)):
            self.port = chosen or free_port()
            try:
                self._launch(within=within)
                return
            except ServerFailedError as failure:
                # Another process may have taken the port in between; one that clients know already is never changed.
                if chosen or not remaining or "address already in use" not in str(failure).lower():
                    raise

    def kill(self) -> None:
        """End the node at once, as a crash or a power cut would."""
        self._end(signal.SIGKILL, within=60.0)

    def stop(self, *, within: float = 60.0) -> int:
        """Ask the node to end in good order and return its exit status.

        Raises `subprocess.TimeoutExpired` when it takes longer, after killing it.
        """
        return self._end(signal.SIGTERM, within=within)

    def restart(self, *, within: float = 60.0) -> None:
        """Kill the node and start it again."""
        self.kill()
        self.start(within=within)

    def root_key(self) -> str:
        """The key of all roles: the one it was given, or the one that it made on its first start."""
        given = self.settings.get("SWARMHOLD_ROOT_KEY")
        return given or (self.data_dir / "root.key").read_text().strip()

    def logs(self) -> str:
        """Everything the node wrote in all its lives."""
        log = self._log_file
        return log.read_text(errors="replace") if log.exists() else ""

    def __enter__(self) -> Self:
        if not self.running:
            self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    @property
    def _log_file(self) -> Path:
        return self.log_file or self.data_dir.with_name(f"{self.data_dir.name}.log")

    def _environment(self) -> dict[str, str]:
        place = {
            "SWARMHOLD_HOST": LOOPBACK,
            "SWARMHOLD_PORT": str(self.port),
            "SWARMHOLD_DATA_DIR": str(self.data_dir),
        }
        return {**own_variables(), "PYTHONUNBUFFERED": "1", **place, **self.settings}

    def _command(self) -> list[str]:
        limited = ["/bin/sh", "-c", f'ulimit -n {self.max_descriptors}; exec "$@"', "sh"]
        swarmhold = [str(Path(sys.executable).with_name("swarmhold"))]
        if self.clock_ahead_s:
            swarmhold = [sys.executable, "-P", str(Path(moved_clock.__file__)), str(self.clock_ahead_s)]
        serve = [*swarmhold, "serve", *self.arguments]
        return serve if self.max_descriptors is None else limited + serve

    def _launch(self, *, within: float) -> None:
        self._log_file.parent.mkdir(parents=True, exist_ok=True)
        with self._log_file.open("ab") as log, Path(os.devnull).open("rb") as nothing:
            output = log.fileno() if self.output is None else self.output
            self._process = self._begin(nothing.fileno(), output)
        try:
            wait_until(self._ready, within=within, awaited=f"/readyz of port {self.port} to answer 200")
        except AssertionError:
            sys.stderr.write(self._last_lines())
            self.kill()
            raise

    def _begin(self, nothing: int, output: int) -> subprocess.Popen[bytes] | Forked:
        interpreter = any(name.startswith("PYTHON") for name in self.settings)
        if self.fresh or interpreter or self.clock_ahead_s or self.max_descriptors is not None:
            return subprocess.Popen(
                self._command(),
                stdin=nothing,
                stdout=output,
                stderr=output,
                env=self._environment(),
                start_new_session=True,
            )
        return Forked(
            ["serve", *self.arguments], env=self._environment(), descriptors=[nothing, output, output], own_session=True
        )

    def _ready(self) -> bool:
        assert self._process is not None
        if self._process.poll() is not None:
            status = self._process.returncode
            raise ServerFailedError(f"swarmhold serve ended with status {status}:\n{self._last_lines()}")
        try:
            reply = httpx.get(
                f"http://{LOOPBACK}:{self.port}/readyz", timeout=2.0, trust_env=False, verify=NO_AUTHORITIES
            )
            return reply.status_code == httpx.codes.OK
        except httpx.TransportError:
            return False

    def _last_lines(self, count: int = 80) -> str:
        return "\n".join(self.logs().splitlines()[-count:]) + "\n"

    def _end(self, how: signal.Signals, *, within: float) -> int:
        process, self._process = self._process, None
        if process is None:
            return 0
        if process.poll() is None:
            process.send_signal(how)
        try:
            return process.wait(timeout=within)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
            raise
