"""Keys go to the server of the data directory alone, whatever an old pidfile says."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import pytest

from tests.conftest import StartServer
from tests.e2e.cli.conftest import SWARMHOLD, Run
from tests.support.ports import LOOPBACK


class _Stranger(ThreadingHTTPServer):
    """Whatever took the port of a killed server: it accepts every request, and keeps the credentials that it got."""

    def __init__(self) -> None:
        self.credentials: list[str] = []
        super().__init__((LOOPBACK, 0), _Greedy)

    @property
    def url(self) -> str:
        """Where it listens."""
        return f"http://{LOOPBACK}:{self.server_port}"


class _Greedy(BaseHTTPRequestHandler):
    server: _Stranger

    def do_GET(self) -> None:
        """Accept it."""
        if given := self.headers.get("Authorization"):
            self.server.credentials.append(given)
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Swarmhold-Proof", self.headers.get("Swarmhold-Challenge", ""))
        self.end_headers()
        self.wfile.write(b'{"status": "ok", "items": []}')

    do_POST = do_GET  # noqa: N815 - the name that http.server calls

    def log_message(self, format: str, *args: object) -> None:
        """Say nothing."""


@pytest.fixture
def stranger() -> Iterator[_Stranger]:
    """A stranger that listens."""
    with _Stranger() as server:
        thread = Thread(target=server.serve_forever)
        thread.start()
        yield server
        server.shutdown()
        thread.join()


@pytest.mark.parametrize("arguments", [("tasks", "list"), ("webhooks", "list"), ("run", "agent", "text"), ("senior",)])
def test_a_stale_pidfile_sends_no_key_to_a_stranger(
    stranger: _Stranger, tmp_path: Path, run: Run, arguments: tuple[str, ...]
) -> None:
    """The process id is another program's by now, and so is the port: no server runs, and nobody is sent a key."""
    _left_behind(tmp_path, stranger.url)
    failed = run(*arguments, "--data-dir", tmp_path, status=1)
    assert f"No server runs with the data directory {tmp_path}" in failed.stderr
    assert stranger.credentials == []


def test_the_root_key_of_the_data_directory_goes_to_no_other_url(stranger: _Stranger, tmp_path: Path, run: Run) -> None:
    """A key that is given together with the URL is sent there."""
    _left_behind(tmp_path, stranger.url)
    failed = run("tasks", "list", "--url", stranger.url, "--data-dir", tmp_path, status=1)
    assert "no other is sent its root key" in failed.stderr
    assert stranger.credentials == []


def test_doctor_sends_no_key_to_a_stranger(stranger: _Stranger, tmp_path: Path) -> None:
    """It looks whether the address answers, and no more."""
    _left_behind(tmp_path, stranger.url)
    subprocess.run([SWARMHOLD, "doctor", "--data-dir", str(tmp_path)], capture_output=True, timeout=60, check=False)
    assert stranger.credentials == []


def test_rotating_signals_no_process_but_the_server(stranger: _Stranger, start_server: StartServer, run: Run) -> None:
    """A process that got the id of a killed server is left alone."""
    node = start_server()
    node.stop()
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as other:
        _left_behind(node.data_dir, stranger.url, pid=other.pid)
        done = run("keys", "rotate-signing", "--data-dir", node.data_dir)
    assert "next start" in done.stdout
    assert other.returncode == 1  # its input ended; SIGHUP would have ended it by the signal


def test_the_server_of_the_data_directory_proves_itself(start_server: StartServer, run: Run) -> None:
    """Commands find it by its pidfile, and by a URL that leads to it."""
    node = start_server()
    assert run("tasks", "list", "--json", "--data-dir", node.data_dir).stdout
    assert run("tasks", "list", "--json", "--url", node.url, "--data-dir", node.data_dir).stdout


def _left_behind(folder: Path, url: str, *, pid: int | None = None) -> None:
    """Write what a killed server leaves: a pidfile, whose process id and port others have got meanwhile."""
    (folder / "root.key").write_text("shk_" + "k" * 40)
    content = {"pid": pid or os.getpid(), "url": url, "secret": "00" * 32}
    (folder / "server.json").write_text(json.dumps(content))
