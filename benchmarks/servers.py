"""Starts the measured servers, pinned to a core of their own if there is one."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path

CORES = os.sched_getaffinity(0)
"""The cores that this process was given; a process that is pinned to one passes that one on."""
SERVER_CORE = {0}


@dataclass(frozen=True, slots=True)
class Server:
    """A running server."""

    url: str
    pid: int
    data_dir: Path

    @property
    def root_key(self) -> str:
        """Return the server's root key; the baseline server has none."""
        return (self.data_dir / "root.key").read_text().strip()

    def memory_kib(self) -> int:
        """Return the server's resident memory in KiB."""
        for line in Path(f"/proc/{self.pid}/status").read_text().splitlines():
            if line.startswith("VmRSS:"):
                return int(line.split()[1])
        return 0

    def cpu_seconds(self) -> float:
        """Return the CPU time that the server has used, in user and kernel mode, of all its threads."""
        return cpu_seconds(self.pid)

    def kill(self) -> None:
        """End the server at once, as a crash does."""
        os.kill(self.pid, signal.SIGKILL)


def cpu_seconds(pid: int) -> float:
    """Return the CPU time that a process has used, in user and kernel mode, of all its threads; 0 when it is gone."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return 0.0
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def free_port() -> int:
    """Return an unused port."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def pin(cores: set[int]) -> None:
    """Pin this process to these cores, if the machine has them."""
    available = CORES & cores
    if available:
        os.sched_setaffinity(0, available)


def unpin() -> set[int]:
    """Let this process run on all its cores, and return those that it was pinned to."""
    pinned = os.sched_getaffinity(0)
    os.sched_setaffinity(0, CORES)
    return pinned


@contextmanager
def _running(
    command: list[str], url: str, probe: str, data_dir: Path, env: dict[str, str], cores: set[int] = SERVER_CORE
) -> Iterator[Server]:
    process = subprocess.Popen(
        command,
        env={**os.environ, **env},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        preexec_fn=lambda: pin(cores),  # noqa: PLW1509 - no threads run yet
    )
    try:
        _wait_until_up(url + probe, process)
        yield Server(url, process.pid, data_dir)
    finally:
        process.terminate()
        process.wait(30)


def _wait_until_up(url: str, process: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + 300
    while time.monotonic() < deadline and process.poll() is None:
        try:
            urllib.request.urlopen(url, timeout=1)  # noqa: S310 - our own server
            return
        except urllib.error.HTTPError:
            return
        except OSError:
            time.sleep(0.05)
    raise TimeoutError(f"{url} did not come up (exit status {process.poll()})")


@contextmanager
def bare() -> Iterator[Server]:
    """Run the baseline server."""
    port = free_port()
    command = [sys.executable, "-m", "benchmarks.bare", str(port)]
    with _running(command, f"http://127.0.0.1:{port}", "/", Path(), {}) as server:
        yield server


@contextmanager
def swarmhold(folder: str | None = None, cores: set[int] = SERVER_CORE, /, **env: str) -> Iterator[Server]:
    """Run the real server, on an empty data directory unless one is given, on a core of its own or on these."""
    port = free_port()
    with _data_dir(folder) as data_dir:
        command = [str(Path(sys.executable).with_name("swarmhold")), "serve", "--port", str(port)]
        command += ["--data-dir", data_dir]
        settings = {"SWARMHOLD_LOG_LEVEL": "warning", **env}
        with _running(command, f"http://127.0.0.1:{port}", "/readyz", Path(data_dir), settings, cores) as server:
            yield server


def _data_dir(folder: str | None) -> AbstractContextManager[str]:
    if folder is not None:
        return nullcontext(folder)
    return tempfile.TemporaryDirectory(prefix="swarmhold-bench-")
