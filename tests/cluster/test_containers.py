"""The cluster of the compose file as processes: its environments, its secrets, its proxy with its own file."""

import asyncio
import re
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import psycopg
import pytest
from psycopg import sql

from swarmhold import SwarmholdClient
from swarmhold.models.spawners import ExternalSpawner
from tests.cluster.conftest import OP, WORK
from tests.conftest import StartServer
from tests.support.compose import compose, manual_lines
from tests.support.nats import NatsServer, running_nats
from tests.support.ports import LOOPBACK, NO_AUTHORITIES, free_port
from tests.support.postgres import SUPERUSER, PostgresCluster
from tests.support.processes import ServerProcess
from tests.support.proxies import pass_polls_streams_and_sockets, running_proxy
from tests.support.sources import ROOT
from tests.support.waiting import eventually

pytestmark = [pytest.mark.chaos, pytest.mark.slow, pytest.mark.timeout(600)]

NODES = ("node-1", "node-2", "node-3")
WAITING = 6


@dataclass
class Containers:
    """The services of the compose file, by process."""

    url: str
    folder: Path
    nats: NatsServer
    file: dict[str, Any]
    nodes: dict[str, ServerProcess] = field(default_factory=dict[str, ServerProcess])

    @property
    def root_key(self) -> str:
        """The key that the manual's lines made."""
        return (self.folder / "secrets" / "root.key").read_text().strip()

    def secret(self, name: str) -> Path:
        """The file of a secret."""
        return self.folder / self.file["secrets"][name]["file"]

    def environment(self, service: str, url: str) -> dict[str, str]:
        """What the compose file sets for a node, with the addresses of the processes."""
        found = self.file["services"][service]
        replaced = {f"/run/secrets/{name}": str(self.secret(name)) for name in found["secrets"]}
        replaced |= {"nats://nats:4222": self.nats.url, f"http://{service}:7777": url}
        environment: dict[str, str] = found["environment"]
        return {name: replaced.get(value, value) for name, value in environment.items()}


def _make_secrets(folder: Path, database: PostgresCluster, postgres: dict[str, str]) -> None:
    """Run the lines of the manual, and make the database that the file of its URL names."""
    subprocess.run(["sh", "-euc", manual_lines("secrets/database.url")], cwd=folder, check=True)
    user, name = postgres["POSTGRES_USER"], postgres["POSTGRES_DB"]
    password = (folder / "secrets" / "postgres.password").read_text().strip()
    assert user == SUPERUSER
    with psycopg.connect(database.url(), autocommit=True) as connection:
        connection.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(name)))
    file = folder / "secrets" / "database.url"
    text = file.read_text()
    assert text == f"postgresql://{user}:{password}@postgres/{name}\n"
    file.chmod(0o644)
    file.write_text(text.replace("@postgres/", f"@{LOOPBACK}:{database.port}/"))


def _proxy(containers: Containers, port: int) -> list[str]:
    """The proxy's command, with the file that is mounted into its container."""
    service = containers.file["services"]["proxy"]
    [mount] = service["volumes"]
    source, target, mode = mount.split(":")
    assert mode == "ro"
    text = (ROOT / source).read_text()
    for name, node in containers.nodes.items():
        text = text.replace(f"{name}:7777", node.url.removeprefix("http://"))
    file = containers.folder / "Caddyfile"
    file.write_text(text.replace(":7777 {", f"http://{LOOPBACK}:{port} {{"))
    return [str(file) if word == target else word for word in service["command"]]


@pytest.fixture
def containers(start_server: StartServer, postgres_cluster: PostgresCluster, tmp_path: Path) -> Iterator[Containers]:
    """What `docker compose --profile cluster up` starts, once it is healthy."""
    port = free_port()
    url = f"http://{LOOPBACK}:{port}"
    file = compose({"SWARMHOLD_PUBLIC_URL": url})
    _make_secrets(tmp_path, postgres_cluster, file["services"]["postgres"]["environment"])
    with running_nats() as nats:
        containers = Containers(url, tmp_path, nats, file)
        for name in NODES:
            own = free_port()
            settings = containers.environment(name, f"http://{LOOPBACK}:{own}")
            containers.nodes[name] = start_server(port=own, settings=settings)
        with running_proxy(_proxy(containers, port), url, tmp_path):
            yield containers
        for node in containers.nodes.values():
            node.kill()
    postgres_cluster.drop_database(containers.secret("database_url").read_text().strip())


async def parked(node: ServerProcess, key: str) -> float:
    """How many requests wait on a node."""
    async with httpx.AsyncClient(trust_env=False, verify=NO_AUTHORITIES) as client:
        text = (await client.get(f"{node.url}/metrics", headers={"Authorization": f"Bearer {key}"})).text
    return float(re.findall(r"^swarmhold_http_parked (\S+)$", text, re.MULTILINE)[0])


async def submit(client: httpx.AsyncClient, headers: dict[str, str], value: str) -> None:
    """Submit, again while the proxy says that a node died under a request it may not repeat by itself."""

    async def taken() -> bool:
        reply = await client.post(f"{WORK}/submit", headers=headers, content=value)
        assert reply.status_code in (204, 502), reply.text
        return reply.status_code == 204

    await eventually(taken, awaited="a submit to be taken")


async def test_requests_go_on_while_a_node_of_the_containers_dies(containers: Containers) -> None:
    """Polls, streams and sockets pass the proxy; what waited on the dead node comes from the others."""
    key = containers.root_key
    await pass_polls_streams_and_sockets(containers.url, key, bridge="before")
    async with (
        SwarmholdClient(containers.url) as server,
        httpx.AsyncClient(base_url=containers.url, timeout=60, trust_env=False, verify=NO_AUTHORITIES) as plain,
    ):
        listed = await (await server.attach_observer(key, "looker")).nodes()
        assert {node.url for node in listed} == {node.url for node in containers.nodes.values()}
        operator = await server.attach_operator(key, "operator")
        handles: list[str] = []
        waiting: list[asyncio.Task[Any]] = []
        for _ in range(WAITING):
            task = await operator.start_task("a", "x")
            handles.append((await operator.dispatch(task.id, ExternalSpawner())).worker_handle or "")
            waiting.append(asyncio.create_task(operator.wait_for(task.id)))

        async def all_wait() -> bool:
            counts = [await parked(node, key) for node in containers.nodes.values()]
            return min(counts) > 0 and sum(counts) == WAITING

        await eventually(all_wait, awaited="the polls to be parked, on every node")
        containers.nodes["node-1"].kill()
        for number, handle in enumerate(handles):
            headers = {"Authorization": f"Bearer {handle}"}
            assert (await plain.get(f"{WORK}/prompt", headers=headers)).status_code == 200
            await submit(plain, headers, str(number))
        assert [(await done).last_result for done in waiting] == [str(number) for number in range(WAITING)]
        body = {"operator_id": "plain", "role": "observer", "ttl": 3600}
        session = await plain.post(f"{OP}/sessions", headers={"Authorization": f"Bearer {key}"}, json=body)
        headers = {"Authorization": f"Bearer {session.json()['token']}"}
        statuses = {(await plain.get(f"{OP}/tasks", headers=headers)).status_code for _ in range(50)}
        assert statuses == {200}
    await pass_polls_streams_and_sockets(containers.url, key, bridge="after")
