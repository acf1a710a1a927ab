"""One node for the tests of a module, and programs that are killed while they wait for an answer."""

import contextlib
import subprocess
import sys
from collections.abc import Collection, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.cli.conftest import surroundings
from tests.support.processes import ServerProcess
from tests.support.spreading import server_process
from tests.support.swarm import Swarm
from tests.support.waiting import wait_until

DEADLINE_S = 100


@pytest.fixture(scope="module")
def node(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    """A node with an empty data directory, shared by a module's tests."""
    with server_process(tmp_path_factory.mktemp("node") / "data") as server:
        server.start()
        yield server
        server.stop()


@dataclass
class Asking:
    """A program that asks, with the key of an operator; and a senior of another key who answers."""

    node: ServerProcess
    swarm: Swarm
    key: str
    folder: Path
    variables: dict[str, str] = field(default_factory=dict[str, str])
    running: list[subprocess.Popen[str]] = field(default_factory=list[subprocess.Popen[str]])

    def start(self, source: str) -> subprocess.Popen[str]:
        """The program, started."""
        process = subprocess.Popen(
            [sys.executable, "-c", source],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            cwd=self.folder,
            env=surroundings(self.node, SWARMHOLD_KEY=self.key, **self.variables),
        )
        self.running.append(process)
        return process

    def run(self, source: str) -> str:
        """What the program prints until its end, which is a good one."""
        out, err = self.start(source).communicate(timeout=DEADLINE_S)
        assert self.running[-1].returncode == 0, err
        return out.strip()

    def killed_while_it_waits(self, source: str) -> dict[str, Any]:
        """The question that the program has asked, which waits for its answer until it is killed."""
        known = self.keys()
        process = self.start(source)
        question = self.asked_by(process, known)
        process.kill()
        process.communicate()
        return question

    def asked_by(self, process: subprocess.Popen[str], known: Collection[str] = ()) -> dict[str, Any]:
        """The question that a program has asked beside those that are known, as soon as it has."""

        def asked() -> set[str]:
            assert process.poll() is None, process.communicate()
            return self.keys().difference(known)

        [key] = wait_until(asked)
        return self.swarm.question(key)

    def keys(self) -> set[str]:
        """The keys of the questions that wait for an answer."""
        return {one["key"] for one in self.open()}

    def open(self) -> list[dict[str, Any]]:
        """The questions that wait for an answer."""
        return self.swarm.call(self.swarm.senior, "GET", "/v1/senior/questions?status=open")["items"]


@pytest.fixture
def asking(node: ServerProcess, tmp_path: Path) -> Iterator[Asking]:
    """A key of its own for each test."""
    with contextlib.closing(Swarm(node.url, node.root_key())) as swarm:
        name = f"asker {tmp_path.name}"
        made = swarm.call(node.root_key(), "POST", "/v1/admin/keys", {"name": name, "roles": ["operator"]})
        found = Asking(node, swarm, made["key"], tmp_path)
        yield found
        for process in found.running:
            process.kill()
            process.communicate()
