"""The real Codex, connected by the lines of docs/connect: its hook asks before a command leaves the sandbox.

Its model is scripted, on loopback, and the part of its terminal is played by its app server. `make codex` installs the
program (172 MB), which is not among the dependencies, and runs these tests.
"""

import json
import os
import re
import shutil
import signal
import subprocess
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.cli.conftest import SWARMHOLD
from tests.support.processes import ServerProcess
from tests.support.scripted_models import scripted_model
from tests.support.sources import ROOT
from tests.support.swarm import Swarm
from tests.support.waiting import wait_until

CODEX, NODE = shutil.which("codex"), shutil.which("node")
DEADLINE_S = 200

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(CODEX is None, reason="Codex is missing: make codex"),
]


@dataclass
class Session:
    """Codex in a project, and all that it says."""

    process: subprocess.Popen[str]
    project: Path
    said: list[dict[str, Any]] = field(default_factory=list[dict[str, Any]])

    def call(self, method: str, **params: Any) -> Any:
        """The result of a request."""
        number = 1 + sum("result" in one for one in self.said)
        self._send(id=number, method=method, params=params)
        reply = wait_until(lambda: self._saw(id=number), within=DEADLINE_S)
        assert reply is not None
        return reply["result"]

    def greet(self) -> None:
        """Begin the connection, when Codex has started."""
        self.call("initialize", clientInfo={"name": "test", "title": "test", "version": "1"})
        self._send(method="initialized")

    def use(self) -> None:
        """Let the model work on a prompt; nobody answers on the terminal."""
        # As after `/hooks`, where a user trusts the hook.
        trusted = {"bypass_hook_trust": True}
        policy = {"approvalPolicy": "on-request", "sandbox": "read-only"}
        thread = self.call("thread/start", cwd=str(self.project), config=trusted, **policy)["thread"]
        self.call("turn/start", threadId=thread["id"], input=[{"type": "text", "text": "make a release"}])

    def ended(self) -> None:
        """Wait until the turn has ended, without a request to the terminal."""
        wait_until(lambda: self._saw(method="turn/completed"), within=DEADLINE_S)
        assert not [one for one in self.said if one.get("method", "").endswith("/requestApproval")]

    def read(self) -> None:
        """Note everything that it says until its end."""
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self.said.append(json.loads(line))

    def _saw(self, **members: Any) -> dict[str, Any] | None:
        assert self.process.poll() is None
        return next((one for one in list(self.said) if members.items() <= one.items()), None)

    def _send(self, **message: Any) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(json.dumps(message) + "\n")
        self.process.stdin.flush()


@contextmanager
def started(folder: Path, node: ServerProcess, model: str) -> Iterator[Session]:
    """Codex with a model on loopback and the hook that the printed lines install."""
    assert CODEX is not None
    page = (ROOT / "docs" / "connect" / "codex.md").read_text()
    [recipe] = re.findall(r"```bash\n(.*?)```", page, re.DOTALL)
    *connect, _ = recipe.strip().replace("http://127.0.0.1:7777", node.url).splitlines()
    assert len(connect) + 1 < 10
    settings, project = folder / "home" / ".codex", folder / "project"
    settings.mkdir(parents=True)
    project.mkdir()
    provider = f'name = "scripted"\nbase_url = "{model}/v1"\nwire_api = "responses"\nenv_key = "SCRIPTED_KEY"'
    choice = 'model = "scripted"\nmodel_provider = "scripted"'
    (settings / "config.toml").write_text(f"{choice}\n[model_providers.scripted]\n{provider}\n")
    found = {str(Path(program).parent) for program in (CODEX, NODE, SWARMHOLD) if program}
    environment = {
        "HOME": str(folder / "home"),
        "PATH": ":".join([*found, "/usr/local/bin", "/usr/bin", "/bin"]),
        "PYTHONPATH": os.environ.get("PYTHONPATH", ""),
        "SCRIPTED_KEY": "key-of-the-test",
        "SWARMHOLD_DATA_DIR": str(node.data_dir),
    }
    process = subprocess.Popen(
        ["bash", "-c", "\n".join(["{", *connect, '} >"$HOME/log" 2>&1', 'exec codex app-server 2>>"$HOME/log"'])],
        cwd=project,
        env=environment,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    session = Session(process, project)
    reader = threading.Thread(target=session.read, daemon=True)
    reader.start()
    try:
        yield session
    finally:
        # The package starts the program in a process of its own.
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        reader.join()


@pytest.fixture
def node(tmp_path: Path) -> Iterator[ServerProcess]:
    """A server, for as long as the test lets it run."""
    server = ServerProcess(tmp_path / "data")
    server.start()
    yield server
    if server.running:
        server.stop()


@pytest.fixture
def codex(tmp_path: Path, node: ServerProcess) -> Iterator[Session]:
    """Codex, whose model wants to run a command outside of the sandbox once."""
    use = {
        "cmd": f"echo ran >> {tmp_path / 'ran'}",
        "sandbox_permissions": "require_escalated",
        "justification": "ship",
    }
    with scripted_model([("exec_command", use)]) as model, started(tmp_path, node, model) as session:
        session.greet()
        yield session


@pytest.mark.parametrize("decision", ["approve", "reject"])
def test_a_command_leaves_the_sandbox_by_a_persons_decision(
    decision: str, codex: Session, node: ServerProcess, tmp_path: Path
) -> None:
    """It runs once if a senior approves, and not if one rejects it; the terminal is not asked."""
    with closing(Swarm(node.url, node.root_key())) as swarm:
        codex.use()

        def asked() -> list[dict[str, Any]]:
            return swarm.call(swarm.senior, "GET", "/v1/senior/questions?status=open")["items"]

        [question] = wait_until(asked, within=DEADLINE_S)
        assert swarm.task(question["task_id"])["labels"]["harness"] == "codex"
        assert question["action"]["name"] == "Bash"
        assert not (tmp_path / "ran").exists()
        swarm.answer(question["key"], {"decision": decision})
        codex.ended()
    ran = (tmp_path / "ran").read_text() if (tmp_path / "ran").exists() else ""
    assert ran == ("ran\n" if decision == "approve" else "")


def test_without_the_server_nothing_leaves_the_sandbox(codex: Session, node: ServerProcess, tmp_path: Path) -> None:
    """The hook denies, and the terminal is not asked."""
    node.stop()
    codex.use()
    codex.ended()
    assert not (tmp_path / "ran").exists()
