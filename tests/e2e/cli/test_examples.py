"""Every example runs as it says, against a real node."""

import asyncio
import signal
import subprocess
import sys
from collections.abc import Callable
from datetime import timedelta

import pytest

from swarmhold import Operator, SwarmholdClient
from swarmhold.models.spawners import ExternalSpawner, QueueSpawner
from tests.e2e.cli.conftest import Background, surroundings
from tests.support.models import running_models
from tests.support.processes import ServerProcess
from tests.support.sources import ROOT
from tests.support.waiting import wait_until

Start = Callable[..., Background]

SETTLE = timedelta(seconds=60)


async def _operator(server: SwarmholdClient, node: ServerProcess) -> Operator:
    return await server.attach_operator(node.root_key(), "test")


def test_curl_walks_through_a_whole_life(node: ServerProcess) -> None:
    """Every step of the shell script works, and its last one is refused as it says."""
    done = subprocess.run(
        ["sh", str(ROOT / "examples" / "curl.sh")], capture_output=True, text=True, timeout=100, env=surroundings(node)
    )

    assert done.returncode == 0, done.stderr
    assert '"last_result":{"greeting":"Hello, world!"}' in done.stdout
    assert "event: task_pass" in done.stdout
    assert "attempt-superseded" in done.stdout
    assert node.root_key() not in done.stdout + done.stderr


async def test_the_short_worker_works(node: ServerProcess) -> None:
    """Forty lines of the standard library fetch, say how it goes, and submit."""
    source = (ROOT / "examples" / "worker.py").read_text()
    assert len(source.splitlines()) <= 40
    async with SwarmholdClient(node.url) as server:
        operator = await _operator(server, node)
        task = await operator.start_task("counter", "one two three")
        attempt = await operator.dispatch(task.id, ExternalSpawner())
        variables = {"SWARMHOLD_BASE_URL": node.url, "SWARMHOLD_HANDLE": attempt.worker_handle or ""}
        worker = await asyncio.create_subprocess_exec(
            sys.executable, "-c", source, env=surroundings(node, **variables), stdout=subprocess.DEVNULL
        )
        assert await worker.wait() == 0
        settled = await operator.wait_for(task.id, deadline=SETTLE)
        outputs = await operator.output(task.id, 1)

    assert settled.last_result == {"words": 3, "longest": "three"}
    assert [output.type for output in outputs] == ["progress", "final"]


def test_worker_operator_and_senior_are_a_small_swarm(node: ServerProcess, example: Start) -> None:
    """The queue worker counts, the senior answers what it asks, the operator sees all of it pass."""
    worker = example("queue_worker.py", QUEUE="small")
    senior = example("senior.py")
    done = subprocess.run(
        [sys.executable, str(ROOT / "examples" / "start_tasks.py")],
        capture_output=True,
        text=True,
        timeout=60,
        env=surroundings(node, QUEUE="small"),
    )
    worker.process.send_signal(signal.SIGTERM)

    assert done.returncode == 0, done.stderr
    assert done.stdout.count(" pass: ") == 3
    assert "'language': 'de'" in done.stdout
    assert "Which language is this?" in senior.printed
    assert worker.process.wait(timeout=60) == 0, worker.printed


@pytest.mark.parametrize("kind", ["OPENAI", "ANTHROPIC"])
async def test_the_model_worker_calls_either_kind_of_endpoint(node: ServerProcess, example: Start, kind: str) -> None:
    """The prompt goes to the endpoint with its key, the text comes back as the result."""
    with running_models() as models:
        variables = {f"{kind}_API_KEY": "key-of-the-test", f"{kind}_BASE_URL": models.url, "QUEUE": kind}
        worker = example("llm_worker.py", **variables)
        async with SwarmholdClient(node.url) as server:
            operator = await _operator(server, node)
            task = await operator.start_task("writer", "stressed")
            await operator.dispatch(task.id, QueueSpawner(queue=kind))
            settled = await operator.wait_for(task.id, deadline=SETTLE)

    assert settled.last_result == {"text": "desserts"}, worker.printed
    ((path, credential, body),) = models.requests
    assert credential.endswith("key-of-the-test")
    assert (path, body["max_tokens"]) == ("/v1/messages" if kind == "ANTHROPIC" else "/chat/completions", 2048)


def test_the_model_worker_says_what_it_needs(node: ServerProcess, example: Start) -> None:
    """Without a key it ends at once and claims nothing."""
    worker = example("llm_worker.py")

    assert worker.process.wait(timeout=60) != 0
    assert wait_until(lambda: "Set OPENAI_API_KEY or ANTHROPIC_API_KEY." in worker.printed)
