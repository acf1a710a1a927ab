"""Real nodes on one real PostgreSQL database, with leases short enough to wait for."""

import os
import signal
import sys
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.conftest import StartServer
from tests.support.ports import NO_AUTHORITIES
from tests.support.processes import ServerProcess
from tests.support.waiting import eventually

ROOT_KEY = "shk_" + "cluster" * 6
LEASE_S = 6.0
"""Short enough to wait for its end, long enough for a machine that is busy."""
OP, WORK, SENIOR = "/v1/operator", "/v1/worker", "/v1/senior"

_SLEEPER = """
import os, pathlib, sys, time
prompt = sys.stdin.read()
sleeps = float(prompt)
with open(os.environ["LIVES"], "a") as lives:
    lives.write(f"{os.getpid()}\\n")
time.sleep(sleeps)
print('"slept"')
"""


@dataclass(slots=True)
class Cluster:
    """Nodes that have in common what nodes must have in common, and a client of each."""

    start_server: StartServer
    settings: dict[str, str]
    nodes: list[ServerProcess] = field(default_factory=list)
    clients: list[httpx.AsyncClient] = field(default_factory=list)
    tokens: dict[str, str] = field(default_factory=dict)

    def start(self) -> ServerProcess:
        """Start one more node."""
        node = self.start_server(settings=self.settings)
        self.nodes.append(node)
        return node

    def as_(self, node: ServerProcess, credential: str) -> httpx.AsyncClient:
        """A client of a node that sends this credential."""
        client = httpx.AsyncClient(
            base_url=node.url,
            headers={"Authorization": f"Bearer {credential}"},
            timeout=60,
            trust_env=False,
            verify=NO_AUTHORITIES,
        )
        self.clients.append(client)
        return client

    async def attach(self, node: ServerProcess, role: str = "operator", **options: Any) -> str:
        """The token of a new session."""
        body = {"operator_id": role, "role": role, "ttl": 3600, **options}
        reply = await self.as_(node, ROOT_KEY).post(f"{OP}/sessions", json=body)
        assert reply.status_code == 201, reply.text
        return reply.json()["token"]

    async def operator(self, node: ServerProcess) -> httpx.AsyncClient:
        """A client of a node for an operator, whose session is one on all nodes."""
        if "operator" not in self.tokens:
            self.tokens["operator"] = await self.attach(node)
        return self.as_(node, self.tokens["operator"])

    async def listed(self, node: ServerProcess) -> list[dict[str, Any]]:
        """The nodes that a node lists."""
        reply = await (await self.operator(node)).get(f"{OP}/nodes")
        assert reply.status_code == 200, reply.text
        return reply.json()["items"]

    async def metrics(self, node: ServerProcess) -> dict[str, float]:
        """The samples of a node's metrics, by name and labels."""
        reply = await self.as_(node, ROOT_KEY).get("/metrics")
        assert reply.status_code == 200, reply.text
        lines = (line.rpartition(" ") for line in reply.text.splitlines() if not line.startswith("#"))
        return {name: float(value) for name, _, value in lines}

    async def declared_dead(self, dead: ServerProcess, by: ServerProcess) -> None:
        """Wait until a node counts as dead."""

        async def is_dead() -> bool:
            return any(item["url"] == dead.url and not item["alive"] for item in await self.listed(by))

        await eventually(is_dead, awaited="the node to be declared dead")


@pytest.fixture
def lives(tmp_path: Path) -> Path:
    """Where every start of the program `sleeper` writes its process id."""
    return tmp_path / "lives"


@pytest.fixture
async def cluster(start_server: StartServer, postgres_url: str, tmp_path: Path, lives: Path) -> AsyncIterator[Cluster]:
    """A cluster without nodes."""
    program = tmp_path / "sleeper.py"
    program.write_text(f"#!{sys.executable}\n{_SLEEPER}")
    program.chmod(0o755)
    config = tmp_path / "cluster.toml"
    config.write_text(
        f'[spawn.programs.sleeper]\npath = "{program}"\nenv = {{LIVES = "{lives}"}}\n'
        f"[cluster]\nheartbeat = 1\nlease = {LEASE_S}\n"
        "[engine]\npoll_interval = 1\n"
    )
    settings = {
        "SWARMHOLD_DATABASE_URL": postgres_url,
        "SWARMHOLD_ROOT_KEY": ROOT_KEY,
        "SWARMHOLD_KEYS_FILE": str(tmp_path / "keys.json"),
        "SWARMHOLD_CONFIG": str(config),
    }
    made = Cluster(start_server, settings)
    yield made
    for client in made.clients:
        await client.aclose()
    for node in made.nodes:
        if node.running:
            os.kill(node.pid, signal.SIGCONT)
