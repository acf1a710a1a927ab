"""The OpenAPI document, tried by a generator of requests with its default checks: it means what the server does."""

import asyncio
import os
from pathlib import Path

import pytest

from tests.support.processes import ServerProcess
from tests.support.schemathesis_runs import ENVIRONMENT, ROLES, SETTINGS, commands

EXAMPLES = int(os.environ.get("SWARMHOLD_TEST_EXAMPLES", "3"))


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.parametrize("role", ROLES)
async def test_the_document_is_what_is_served(tmp_path: Path, role: str) -> None:
    """What the document allows is accepted, what it forbids is refused, and every reply has its documented shape."""
    server = ServerProcess(tmp_path / "data", SETTINGS)
    await asyncio.to_thread(server.start)
    try:
        for command in commands(role, server.url, server.root_key(), tmp_path, max_examples=EXAMPLES):
            process = await asyncio.create_subprocess_exec(
                *command,
                cwd=tmp_path,
                stdout=asyncio.subprocess.PIPE,
                stderr=asyncio.subprocess.STDOUT,
                env=ENVIRONMENT,
            )
            output, _ = await process.communicate()
            assert process.returncode == 0, output.decode(errors="replace")[-8000:]
    finally:
        await asyncio.to_thread(server.stop)
