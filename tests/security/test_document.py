"""The whole OpenAPI document, tried by a generator of requests: nothing breaks, nothing undocumented is answered."""

import asyncio
import os
import sys
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path

import pytest

from app.domain.access import Role
from app.http.settings import AuthRateLimitSettings, HttpSettings
from tests.support.serving import ROOT_KEY, Node, served

CHECKS = (
    "not_a_server_error",
    "status_code_conformance",
    "content_type_conformance",
    "response_headers_conformance",
    "response_schema_conformance",
    "unsupported_method",
    "allow_header_conformance",
)
EXAMPLES = os.environ.get("SWARMHOLD_TEST_EXAMPLES", "3")

# An event stream has no end to wait for; it has tests of its own.
KEY_ROUTES = "/sessions$|/claim$|/admin/"
PLACES = {
    "operator": ("^/v1/operator|^/metrics|^/healthz|^/readyz", f"/events|{KEY_ROUTES}"),
    "worker": ("^/v1/worker", KEY_ROUTES),
    "senior": ("^/v1/senior", None),
    "key": (KEY_ROUTES, None),
}


@pytest.fixture
async def node() -> AsyncIterator[Node]:
    """A node whose waits are short and which bears all guessing."""
    patient = AuthRateLimitSettings(burst_per_source=1e9, burst_overall=1e9)
    brief = timedelta(milliseconds=50)
    async with served(HttpSettings(default_hold=brief, longest_hold=brief, auth_rate_limit=patient)) as node:
        yield node


async def scene(node: Node, who: str) -> tuple[str, str]:
    """Whose credential, and a task for it to work with."""
    operator = await node.operator()
    task, worker = await node.worker(operator)
    await operator.post(f"/v1/operator/tasks/{task}/questions", json={"question": "?"})
    match who:
        case "operator":
            return operator.headers["Authorization"], task
        case "worker":
            return worker.headers["Authorization"], task
        case "senior":
            return f"Bearer {await node.attach(Role.SENIOR)}", task
        case _:
            return f"Bearer {ROOT_KEY}", task


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.parametrize("who", PLACES)
async def test_the_document_is_what_is_served(node: Node, tmp_path: Path, who: str) -> None:
    """Valid and invalid requests of every operation get documented replies in their documented shapes."""
    credential, task = await scene(node, who)
    config = tmp_path / "schemathesis.toml"
    config.write_text(f'[parameters]\n"path.task_id" = "{task}"\n"path.number" = 1\n"path.index" = 0\n')
    included, excluded = PLACES[who]
    arguments = ["--include-path-regex", included]
    if excluded is not None:
        arguments += ["--exclude-path-regex", excluded]
    if who == "key":
        # The path of attaching is also that of listing, which needs a token.
        arguments += ["--exclude-operation-id", "operator_list_sessions"]
    process = await asyncio.create_subprocess_exec(
        str(Path(sys.executable).with_name("schemathesis")),
        *("--config-file", str(config), "run", f"{node.url}/openapi.json"),
        *("-H", f"Authorization: {credential}", *arguments, "--checks", ",".join(CHECKS)),
        *("--phases", "examples,coverage,fuzzing", "--max-examples", EXAMPLES, "--generation-deterministic"),
        *("--suppress-health-check", "all", "--warnings", "off", "--workers", "1", "--continue-on-failure"),
        cwd=tmp_path,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
        env={**os.environ, "COLUMNS": "160", "NO_COLOR": "1"},
    )
    output, _ = await process.communicate()

    assert process.returncode == 0, output.decode(errors="replace")[-8000:]
