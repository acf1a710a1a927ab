"""What a server leaves around itself: no secret in its environment, no zombie where it adopts orphans."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import httpx
import pytest

from swarmhold import SwarmholdClient
from swarmhold.models.attempts import DispatchOutcome
from swarmhold.models.spawners import ProcessSpawner
from tests.conftest import StartServer
from tests.e2e.cli.conftest import SWARMHOLD
from tests.support.pids import children
from tests.support.ports import LOOPBACK, free_port
from tests.support.processes import own_variables
from tests.support.waiting import wait_until

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="processes are looked at through /proc")


def test_the_root_key_leaves_the_environment_of_the_server(start_server: StartServer) -> None:
    """Not even the system's own copy of it holds the key; the rest of the environment stays."""
    key = "shk_" + "k" * 40
    node = start_server(fresh=True, settings={"SWARMHOLD_ROOT_KEY": key, "SWARMHOLD_LOG_LEVEL": "debug"})
    environment = Path(f"/proc/{node.pid}/environ").read_bytes()

    assert key.encode() not in environment
    assert b"SWARMHOLD_LOG_LEVEL=debug" in environment


def test_other_processes_of_the_user_cannot_read_the_memory_of_a_server() -> None:
    """It is not dumpable (prctl(2)) once it has called for that."""
    program = (
        "import ctypes; from app.bootstrap import prctl; prctl.deny_memory_access(); print(ctypes.CDLL(None).prctl(3))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "0"


class _Adopting:
    """A server started with `swarmhold serve` by a process that adopts orphans, and one orphan that it has adopted."""

    def __init__(self, folder: Path, *before: str) -> None:
        self.port = free_port()
        self.data_dir = folder / "data"
        reading, self._writing = os.pipe()
        own = own_variables()
        programs = '{"fails": {"path": "/bin/sh", "args": ["-c", "exit 3"]}}'
        with (folder / "log").open("wb") as log:
            self.process = subprocess.Popen(
                [*before, sys.executable, "-c", _ADOPT, str(reading), SWARMHOLD, "serve", "--port", str(self.port)],
                env={**own, "SWARMHOLD_DATA_DIR": str(self.data_dir), "SWARMHOLD_SPAWN__PROGRAMS": programs},
                stdout=log,
                stderr=log,
                pass_fds=[reading],
                start_new_session=True,
            )
        os.close(reading)
        wait_until(self._ready, within=60.0, awaited="the server to be ready")

    @property
    def url(self) -> str:
        return f"http://{LOOPBACK}:{self.port}"

    def end_orphan(self) -> None:
        """Let the orphan end; only the process that adopted it can reap it."""
        os.close(self._writing)

    def _ready(self) -> bool:
        assert self.process.poll() is None, "the server ended"
        try:
            return httpx.get(f"{self.url}/readyz", trust_env=False).status_code == 200
        except httpx.TransportError:
            return False


_ADOPT = """
import ctypes, os, sys
if os.getpid() != 1:
    assert ctypes.CDLL(None).prctl(36, 1, 0, 0, 0) == 0
if not os.fork():
    if not os.fork():
        os.read(int(sys.argv[1]), 1)
    os._exit(0)
os.close(int(sys.argv[1]))
os.execv(sys.argv[2], sys.argv[2:])
"""
"""Become a process that adopts orphans (PR_SET_CHILD_SUBREAPER), leave it one that ends with the pipe, and serve."""


@pytest.fixture(params=["subreaper", "first process"])
def adopting(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[_Adopting]:
    """A server that adopts orphans: as a subreaper, or as the first process of a namespace."""
    before: tuple[str, ...] = ()
    if request.param == "first process":
        before = ("unshare", "--pid", "--fork", "--kill-child")
        if subprocess.run([*before, "true"], capture_output=True, check=False).returncode:
            pytest.skip("a process namespace needs root")
    server = _Adopting(tmp_path, *before)
    try:
        yield server
    finally:
        server.process.kill()
        server.process.wait()


def _init_of(pid: int) -> int:
    """The process that adopts: the first one below `unshare`, else the one that was started."""
    if b"unshare" in Path(f"/proc/{pid}/cmdline").read_bytes():
        (pid,) = children(pid)
    return pid


def test_a_server_that_adopts_orphans_reaps_them(adopting: _Adopting) -> None:
    """They end without becoming zombies for good; its own child alone is left."""
    init = _init_of(adopting.process.pid)
    assert len(children(init)) == 2
    adopting.end_orphan()
    wait_until(lambda: len(children(init)) == 1, awaited="the orphan to be reaped")


async def test_a_server_that_adopts_orphans_still_gets_the_exit_status_of_its_own_programs(adopting: _Adopting) -> None:
    """A program's attempt ends with the status that it exited with."""
    key = (adopting.data_dir / "root.key").read_text().strip()
    async with SwarmholdClient(adopting.url) as server:
        operator = await server.attach_operator(key, "test")
        task = await operator.start_task("agent", "fail")
        done = await operator.dispatch_and_wait(task.id, ProcessSpawner(program="fails"), wait=timedelta(seconds=30))
    assert isinstance(done, DispatchOutcome)
    assert "status 3" in str(done.value)


def test_a_server_that_adopts_orphans_stops_by_a_signal_with_its_own_status(adopting: _Adopting) -> None:
    """SIGTERM reaches the server, which stops in good order."""
    os.kill(_init_of(adopting.process.pid), signal.SIGTERM)
    assert adopting.process.wait(timeout=30.0) == 0
    assert not (adopting.data_dir / "server.json").exists()
