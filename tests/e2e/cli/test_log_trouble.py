"""A server whose log cannot be written serves, and stops, as any other."""

import contextlib
import os
import signal
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from tests.e2e.cli.conftest import SWARMHOLD
from tests.support.pipes import full_pipe
from tests.support.ports import LOOPBACK, free_port
from tests.support.processes import own_variables
from tests.support.swarm import Swarm
from tests.support.waiting import wait_until

ROOT_KEY = "shk_" + "root0" * 8
MALFORMED = 1_500


@contextlib.contextmanager
def _unreadable(kind: str) -> Iterator[int]:
    """A standard error that is of no use: a full pipe, a pipe without a reader, a full disk."""
    if kind == "full disk":
        number = os.open("/dev/full", os.O_WRONLY)
        yield number
        os.close(number)
        return
    if kind == "full pipe":
        with full_pipe() as number:
            yield number
        return
    reading, writing = os.pipe()
    os.close(reading)
    yield writing
    os.close(writing)


def _refused(port: int) -> None:
    """Send one request that is no HTTP, and wait for its refusal."""
    with socket.create_connection((LOOPBACK, port), timeout=30) as line:
        line.sendall(b"no http\r\n\r\n")
        while line.recv(4096):
            pass


def _dropped(url: str) -> float:
    reply = httpx.get(f"{url}/metrics", headers={"Authorization": f"Bearer {ROOT_KEY}"}, trust_env=False)
    (line,) = [x for x in reply.text.splitlines() if x.startswith("swarmhold_log_lines_dropped_total ")]
    return float(line.split()[1])


@pytest.mark.parametrize("kind", ["full pipe", "closed pipe", "full disk"])
def test_a_log_that_nobody_takes_is_only_lost(kind: str, tmp_path: Path) -> None:
    """Floods of malformed requests, a whole task and SIGTERM go as ever; what was not written is counted."""
    port = free_port()
    own = own_variables()
    with _unreadable(kind) as error:
        server = subprocess.Popen(
            [SWARMHOLD, "serve", "--port", str(port), "--data-dir", str(tmp_path / "data"), "--log-level", "debug"],
            stderr=error,
            env={**own, "SWARMHOLD_ROOT_KEY": ROOT_KEY},
        )
        try:
            url = f"http://{LOOPBACK}:{port}"
            wait_until(lambda: _ready(url), within=60, awaited="the server to be ready")
            for _ in range(MALFORMED):
                _refused(port)
            with contextlib.closing(Swarm(url, ROOT_KEY)) as swarm:
                task_id, handle = swarm.worker()
                swarm.call(handle, "POST", "/v1/worker/submit?ok=true", "done")
                assert swarm.task(task_id)["status"] == "pass"
            assert _dropped(url) > 0
            server.send_signal(signal.SIGTERM)
            assert server.wait(60) == 0
        finally:
            server.kill()
            server.wait()


def _ready(url: str) -> bool:
    with contextlib.suppress(httpx.TransportError):
        return httpx.get(f"{url}/readyz", trust_env=False).status_code == 200
    return False
