"""What operators alarm on is measured, and what the rules and the board name exists."""

import asyncio
import json
import re
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest
import pytest_asyncio
import yaml

from swarmhold import Job, Operator, QueueSpawner, Retry, Role, SwarmholdClient
from swarmhold.models.spawners import InProcessSpawner
from tests.support.processes import ServerProcess
from tests.support.sources import ROOT
from tests.support.waiting import eventually

pytestmark = pytest.mark.one_node("counters are those of one process")

RULES = ROOT / "deploy" / "prometheus" / "swarmhold.rules.yml"
BOARD = ROOT / "deploy" / "grafana" / "swarmhold.json"
_NAMED = re.compile(r"swarmhold_[a-z_]+")
_SAMPLE = re.compile(r"^(\w+)(?:\{(.*)\})? (\S+)$", re.MULTILINE)


@pytest.fixture(scope="module")
def node(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """A node of its own, whose counters nobody else moves."""
    with ServerProcess(tmp_path_factory.mktemp("node") / "data") as server:
        yield server


@pytest_asyncio.fixture
async def operator(node: ServerProcess) -> AsyncIterator[Operator]:
    """An operator on the node."""
    async with SwarmholdClient(node.url) as server:
        yield await server.attach_operator(node.root_key(), "test")


async def _broken(job: Job) -> None:
    await job.worker.usage(input_tokens=12, cost=0.25, model="small")
    raise RuntimeError("a bug")


async def _retried(operator: Operator, task_id: str) -> bool:
    return (await operator.attempt(task_id, 1)).status == "ended"


async def _scrape(node: ServerProcess, key: str | None = None) -> dict[tuple[str, str], float]:
    """The samples of a scrape, by name and labels."""
    async with httpx.AsyncClient(trust_env=False) as http:
        headers = {"Authorization": f"Bearer {key or node.root_key()}"}
        text = (await http.get(f"{node.url}/metrics", headers=headers)).raise_for_status().text
    return {(name, labels or ""): float(value) for name, labels, value in _SAMPLE.findall(text)}


async def test_work_is_counted_and_what_waits_is_measured(node: ServerProcess, operator: Operator) -> None:
    """Tasks by outcome, attempts by kind and reason, retries, queues, questions, the database."""
    passed = await operator.start_task("a", "x")
    await operator.dispatch(passed.id, InProcessSpawner(function="identity"))
    await operator.wait_for(passed.id)
    retried = await operator.start_task("a", "x", retry=Retry(max_attempts=2, backoff=3600))
    await operator.dispatch(retried.id, QueueSpawner(queue="claimed"))
    async with SwarmholdClient(node.url) as server:
        worker = server.queue_worker(node.root_key(), "claimed", _broken)
        running = asyncio.create_task(worker.run())
        await eventually(lambda: _retried(operator, retried.id), awaited="the attempt to end")
        worker.stop()
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
    waiting = await operator.start_task("a", "x")
    await operator.dispatch(waiting.id, QueueSpawner(queue="nobody"))
    await operator.ask((await operator.start_task("a", "x")).id, "Well?")

    async def measured() -> bool:
        found = await _scrape(node)
        queued = ("swarmhold_queue_depth", 'namespace="default",queue="nobody"') in found
        return queued and found["swarmhold_database_check_seconds", ""] > 0

    await eventually(measured)
    found, of = await _scrape(node), 'namespace="default"'
    assert found["swarmhold_tasks_settled_total", f'{of},outcome="pass"'] == 1
    assert found["swarmhold_attempts_started_total", f'kind="queue",{of}'] == 2
    assert found["swarmhold_attempts_ended_total", f'{of},outcome="blocked",reason="worker-failed"'] == 1
    assert found["swarmhold_attempts_ended_total", f'{of},outcome="pass",reason="final"'] == 1
    assert found["swarmhold_retries_total", of] == 1
    spent = 'agent="a",{}model="small",namespace="default"'
    assert found["swarmhold_usage_tokens_total", spent.format('direction="input",')] == 12
    assert found["swarmhold_usage_cost_total", spent.format("")] == 0.25
    assert found["swarmhold_queue_depth", f'{of},queue="nobody"'] == 1
    assert found["swarmhold_queue_oldest_seconds", f'{of},queue="nobody"'] >= 0
    assert found["swarmhold_open_questions", of] == 1
    assert found["swarmhold_oldest_open_question_seconds", of] >= 0
    assert found["swarmhold_database_bytes", ""] > 10_000
    assert found["swarmhold_event_loop_lag_seconds", ""] >= 0


async def test_a_parked_request_is_no_slow_one(node: ServerProcess, operator: Operator) -> None:
    """The seconds for which a poll was parked are in a histogram of their own."""
    task = await operator.start_task("a", "x")
    assert not (await operator.poll(task.id, hold=timedelta(seconds=1))).settled
    found = await _scrape(node)
    route = 'method="GET",route="/v1/operator/tasks/{task_id}/poll"'
    assert found["swarmhold_http_parked_seconds_sum", route] >= 1.0
    assert found["swarmhold_http_request_seconds_sum", f'{route},status="202"'] < 1.0


async def test_another_namespaces_work_is_not_shown(node: ServerProcess) -> None:
    """A key's scrape has its own namespace's series alone."""
    async with SwarmholdClient(node.url) as server:
        key = await server.admin(node.root_key()).create_key("there", [Role.OPERATOR, Role.OBSERVER], namespace="there")
        operator = await server.attach_operator(key.key)
        await operator.dispatch((await operator.start_task("a", "x")).id, QueueSpawner(queue="theirs"))

    async def measured() -> bool:
        return any("theirs" in labels for _, labels in await _scrape(node, key.key))

    await eventually(measured)
    labelled = {labels for _, labels in await _scrape(node, key.key) if "namespace=" in labels}
    assert all('namespace="there"' in labels for labels in labelled)
    assert any('namespace="there"' in labels for _, labels in await _scrape(node))


@pytest.mark.parametrize("file", [RULES, BOARD], ids=["rules", "board"])
def test_what_is_drawn_and_alarmed_on_exists(node: ServerProcess, file: Path) -> None:
    """Every metric that the rules and the board name is one that the server describes, and the documents list it."""
    text = file.read_text()
    loaded = json.loads(text) if file is BOARD else yaml.safe_load(text)
    assert loaded
    headers = {"Authorization": f"Bearer {node.root_key()}"}
    shown = httpx.get(f"{node.url}/metrics", headers=headers, trust_env=False).text
    known = set(re.findall(r"^# TYPE (\w+)", shown, re.MULTILINE))
    named = {re.sub(r"_(bucket|count|sum)$", "", name) for name in _NAMED.findall(text)}
    assert named - known == set()
    assert {name for name in named if name not in (ROOT / "docs" / "operations.md").read_text()} == set()
