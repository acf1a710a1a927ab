"""The processes of the demo: a server that is killed and restarted, and workers that outlive it."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

import httpx

import swarmhold
from app.bootstrap import pidfile
from app.cli.demo.corpus import PACKAGE
from app.cli.exits import CommandFailed
from app.domain.redaction import redact

CLIENT = Path(swarmhold.__file__).parent
START_S = 40.0
STOP_S = 10.0


@dataclass(slots=True)
class Processes:
    """Starts processes, and ends all of them in `close`. `folder` holds the data, the logs and the files to read."""

    folder: Path
    root: Path
    url: str = ""
    root_key: str = field(default="", repr=False)
    _server: subprocess.Popen[bytes] | None = None
    _workers: list[subprocess.Popen[bytes]] = field(default_factory=list[subprocess.Popen[bytes]])

    @property
    def data_dir(self) -> Path:
        """The server's data directory."""
        return self.folder / "data"

    async def start_server(self) -> float:
        """Start the server on the port it had before, wait until it is ready, and return how many seconds that took."""
        port = self.url.rpartition(":")[2] or "0"
        settings = {
            "SWARMHOLD_HOST": "127.0.0.1",
            "SWARMHOLD_PORT": port,
            "SWARMHOLD_DATA_DIR": str(self.data_dir),
            "SWARMHOLD_LOG_FORMAT": "json",
            # A claim whose reply was lost in the kill is available again when its lease expires; keep that short.
            "SWARMHOLD_ENGINE__LEASE": "5",
            "SWARMHOLD_SPAWN__PROGRAMS": json.dumps({"summariser": self._summariser()}),
        }
        loop = asyncio.get_running_loop()
        began = loop.time()
        self._server = self._start("server", ["-m", "app.cli", "serve"], settings)
        try:
            async with asyncio.timeout(START_S):
                await self._until_ready(self._server)
        except TimeoutError:
            raise CommandFailed(f"The server was not ready within {START_S:g} s:\n{self.log('server')}") from None
        self.root_key = (self.data_dir / "root.key").read_text().strip()
        return loop.time() - began

    def _summariser(self) -> dict[str, object]:
        return {
            "path": sys.executable,
            "args": ["-m", "app.cli.demo.summary_worker"],
            "env": {"DEMO_ROOT": str(self.root), "PYTHONPATH": str(PACKAGE.parent)},
            "timeout": 30,
        }

    async def _until_ready(self, server: subprocess.Popen[bytes]) -> None:
        async with httpx.AsyncClient(trust_env=False, timeout=2.0) as http:
            while True:
                if server.poll() is not None:
                    raise CommandFailed(f"The server ended with status {server.returncode}:\n{self.log('server')}")
                found = pidfile.find_server(self.data_dir)
                if found is not None and found.pid == server.pid:
                    self.url = found.url
                    with suppress(httpx.TransportError):
                        if (await http.get(f"{found.url}/readyz")).status_code == 200:
                            return
                await asyncio.sleep(0.02)

    async def wait(self) -> int:
        """Wait until the server has ended and return its exit status. A thread waits on after a cancellation."""
        assert self._server is not None, "the server was not started"  # noqa: S101 - an error of the caller
        return await asyncio.to_thread(self._server.wait)

    async def kill_server(self) -> None:
        """End the server by SIGKILL."""
        assert self._server is not None, "the server was not started"  # noqa: S101 - an error of the caller
        self._server.send_signal(signal.SIGKILL)
        await asyncio.to_thread(self._server.wait)

    def start_worker(self, module: str, variables: Mapping[str, str]) -> None:
        """Start a worker process. Its credential is in its environment, never among its arguments."""
        worker = self._start(module, ["-m", f"app.cli.demo.{module}"], {"SWARMHOLD_BASE_URL": self.url, **variables})
        self._workers.append(worker)

    def _start(self, name: str, arguments: list[str], variables: Mapping[str, str]) -> subprocess.Popen[bytes]:
        own = {key: value for key, value in os.environ.items() if not key.startswith("SWARMHOLD_")}
        path = os.pathsep.join(filter(None, [str(PACKAGE.parent), str(CLIENT.parent), own.get("PYTHONPATH")]))
        with (self.folder / f"{name}.log").open("ab") as log:
            return subprocess.Popen(
                [sys.executable, *arguments],
                env={**own, "PYTHONPATH": path, "DEMO_ROOT": str(self.root), **variables},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )

    def log(self, name: str, lines: int = 12) -> str:
        """Return the last lines of a process's log, redacted."""
        path = self.folder / f"{name}.log"
        text = path.read_text(errors="replace") if path.exists() else ""
        return redact("\n".join(text.splitlines()[-lines:]))

    async def close(self) -> int | None:
        """Stop all processes, and return the server's exit status, or None if it was never started."""
        status = await asyncio.to_thread(self._end, self._server) if self._server is not None else None
        for worker in self._workers:
            worker.kill()
        for worker in self._workers:
            await asyncio.to_thread(worker.wait)
        return status

    @staticmethod
    def _end(process: subprocess.Popen[bytes]) -> int:
        process.terminate()
        try:
            return process.wait(timeout=STOP_S)
        except subprocess.TimeoutExpired:
            process.kill()
            return process.wait()
