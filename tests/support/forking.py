"""Commands as processes of their own that are forked from one which has imported everything.

Importing is most of what a command and the start of a server cost. What runs is what `swarmhold` runs: its own
arguments, environment, directory, descriptors, signals, output and exit status. Its command line in `/proc` alone is
that of this program, and the interpreter has read its own variables (`PYTHON…`) before. Where those matter, start a
program by `subprocess`.

    python -m tests.support.forking DESCRIPTOR

is the process that forks: of each message on the socket it makes a child, tells its process id and, in the end, its
exit status on the first of the descriptors that came with the message.
"""

from __future__ import annotations

import atexit
import contextlib
import gc
import importlib
import io
import json
import os
import pkgutil
import select
import signal
import socket
import subprocess
import sys
import tempfile
import threading
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import IO

ROOT = Path(__file__).parents[2]
PROGRAM = str(Path(sys.executable).with_name("swarmhold"))
IMPORTED = ("app.bootstrap", "app.cli", "app.http", "app.mcp", "app.state", "app.ws", "swarmhold")
STANDARD = 3
"""How many descriptors a program starts with."""
MESSAGE = 1 << 18


class Forked:
    """A running `swarmhold …`, with the methods of a `subprocess.Popen`. Safe for use by several threads."""

    def __init__(
        self,
        arguments: Sequence[str | bytes],
        *,
        env: Mapping[str, str],
        descriptors: Sequence[int],
        cwd: Path | None = None,
        own_session: bool = False,
    ) -> None:
        """Start it with `descriptors` as its standard input, output and error, which stay open here."""
        self.args = [PROGRAM, *map(os.fsdecode, arguments)]
        self.returncode: int | None = None
        self._lock = threading.Lock()
        self._replies, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        asked = {"argv": self.args, "env": dict(env), "cwd": str(cwd or Path.cwd()), "own_session": own_session}
        with theirs:
            _forker().ask(json.dumps(asked).encode(), [theirs.fileno(), *descriptors])
        self.pid = int(self._reply())

    def poll(self) -> int | None:
        """Return its exit status, or None while it runs."""
        return self._status(0)

    def wait(self, timeout: float | None = None) -> int:
        """Return its exit status when it has ended. Raises TimeoutExpired after `timeout` seconds."""
        status = self._status(timeout)
        if status is None:
            raise subprocess.TimeoutExpired(self.args, timeout or 0)
        return status

    def send_signal(self, number: int) -> None:
        """Send it a signal, if it runs."""
        if self.poll() is None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.pid, number)

    def kill(self) -> None:
        """End it at once."""
        self.send_signal(signal.SIGKILL)

    def _status(self, timeout: float | None) -> int | None:
        with self._lock:
            if self.returncode is None and select.select([self._replies], [], [], timeout)[0]:
                self.returncode = int(self._reply())
                self._replies.close()
            return self.returncode

    def _reply(self) -> bytes:
        reply = self._replies.recv(MESSAGE)
        assert reply, "the process that forks has ended"
        return reply


def run(
    *arguments: str | bytes,
    env: Mapping[str, str],
    input: str | None = None,
    stdin: IO[bytes] | None = None,
    cwd: Path | None = None,
    timeout: float = 100,
) -> subprocess.CompletedProcess[str]:
    """Run `swarmhold …` to its end and return what it printed, as `subprocess.run` does.

    It reads `input`, or the file `stdin`. Raises TimeoutExpired after `timeout` seconds, when it is killed.
    """
    pipes = [os.pipe() for _ in range(STANDARD)]
    theirs = [pipes[0][0], pipes[1][1], pipes[2][1]]
    to_it, stdout, stderr = open(pipes[0][1], "w"), open(pipes[1][0]), open(pipes[2][0])  # noqa: PTH123, SIM115
    read = theirs[0] if stdin is None else stdin.fileno()
    try:
        process = Forked(arguments, env=env, descriptors=[read, *theirs[1:]], cwd=cwd)
    finally:
        for descriptor in theirs:
            os.close(descriptor)
    with ThreadPoolExecutor(STANDARD) as threads:
        threads.submit(_write, to_it, input or "")
        out, err = threads.submit(_read, stdout), threads.submit(_read, stderr)
        try:
            status = process.wait(timeout)
        except subprocess.TimeoutExpired:
            process.kill()
            raise
        return subprocess.CompletedProcess(process.args, status, out.result(), err.result())


def _write(stdin: IO[str], text: str) -> None:
    # It need not read all of it.
    with contextlib.suppress(BrokenPipeError), stdin:
        stdin.write(text)


def _read(stream: IO[str]) -> str:
    with stream:
        return stream.read()


class _Forker:
    """The process that forks, on the side of the tests."""

    def __init__(self) -> None:
        self._requests, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        # Not the terminal of whoever runs the tests: some modules look at it when they are imported.
        with theirs, tempfile.TemporaryFile() as output:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "tests.support.forking", str(theirs.fileno())],
                cwd=ROOT,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                pass_fds=[theirs.fileno()],
                start_new_session=True,
            )

    def ask(self, message: bytes, descriptors: list[int]) -> None:
        """Have a child made that has these descriptors."""
        socket.send_fds(self._requests, [message], descriptors)

    def end(self) -> None:
        """Let it end; its children go on."""
        self._requests.close()
        self._process.wait()


_made: list[_Forker] = []
_making = threading.Lock()


def _forker() -> _Forker:
    """The one of this process, which is started when it is needed first."""
    with _making:
        if not _made:
            _made.append(_Forker())
            atexit.register(_made[0].end)
        return _made[0]


# In the process that forks


def _import_everything() -> None:
    for name in IMPORTED:
        package = importlib.import_module(name)
        for module in pkgutil.walk_packages(package.__path__, f"{name}."):
            if not module.name.endswith("__main__") and ".adapters." not in module.name:
                importlib.import_module(module.name)


def _fork_on_request(requests: socket.socket) -> dict[str, object] | None:
    """Fork for each message until there are no more. Return the message in each child, and None in the parent."""
    children: dict[int, socket.socket] = {}
    woken, wake = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
    signal.signal(signal.SIGCHLD, lambda _number, _frame: None)
    signal.set_wakeup_fd(wake, warn_on_full_buffer=False)
    while True:
        ready, _, _ = select.select([requests, woken], [], [])
        if woken in ready:
            os.read(woken, MESSAGE)
            _report_ended(children)
        if requests in ready:
            message, descriptors, _, _ = socket.recv_fds(requests, MESSAGE, 1 + STANDARD)
            if not message:
                return None
            pid = os.fork()
            if not pid:
                signal.set_wakeup_fd(-1)
                signal.signal(signal.SIGCHLD, signal.SIG_DFL)
                return {**json.loads(message), "descriptors": descriptors[1:]}
            for descriptor in descriptors[1:]:
                os.close(descriptor)
            children[pid] = socket.socket(fileno=descriptors[0])
            _tell(children[pid], pid)


def _report_ended(children: dict[int, socket.socket]) -> None:
    with contextlib.suppress(ChildProcessError):
        while (ended := os.waitpid(-1, os.WNOHANG))[0]:
            with children.pop(ended[0]) as asker:
                _tell(asker, os.waitstatus_to_exitcode(ended[1]))


def _tell(asker: socket.socket, number: int) -> None:
    # The tests that asked may be over.
    with contextlib.suppress(OSError):
        asker.send(str(number).encode())


def _become(asked: dict[str, object]) -> None:
    """Be the program that was asked for, in all that does not need another start of the interpreter."""
    if asked["own_session"]:
        os.setsid()
    descriptors = asked["descriptors"]
    assert isinstance(descriptors, list)
    for number, descriptor in enumerate(descriptors):
        os.dup2(descriptor, number)
    os.closerange(STANDARD, max(int(path.name) for path in Path("/proc/self/fd").iterdir()) + 1)
    os.chdir(str(asked["cwd"]))
    environment = asked["env"]
    assert isinstance(environment, dict)
    os.environ.clear()
    os.environ.update(environment)
    sys.modules["__main__"].__package__ = None  # else the command line calls itself by the name of this module
    sys.argv = list(map(str, asked["argv"]))  # pyright: ignore[reportArgumentType] - a list, as it was sent
    sys.path.insert(0, str(Path(PROGRAM).parent))  # before the repository's root, where settings may name functions
    sys.stdin = sys.__stdin__ = open(0, encoding="utf-8", closefd=False)  # noqa: SIM115
    sys.stdout = sys.__stdout__ = _output(1, "strict", unbuffered="PYTHONUNBUFFERED" in environment)
    sys.stderr = sys.__stderr__ = _output(2, "backslashreplace", unbuffered=True)


def _output(descriptor: int, errors: str, *, unbuffered: bool) -> io.TextIOWrapper:
    raw = io.FileIO(descriptor, "w", closefd=False)
    buffer = raw if unbuffered else io.BufferedWriter(raw)
    return io.TextIOWrapper(
        buffer,
        encoding="utf-8",
        errors=errors,
        line_buffering=unbuffered or raw.isatty(),
        write_through=unbuffered,
    )


def _main() -> None:
    requests = socket.socket(fileno=int(sys.argv[1]))
    _import_everything()
    gc.collect()
    gc.freeze()
    asked = _fork_on_request(requests)
    if asked is not None:
        from app.cli.main import main

        _become(asked)
        main()


if __name__ == "__main__":
    _main()
