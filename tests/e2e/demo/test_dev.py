"""`swarmhold dev` as those who try things start it."""

import asyncio
import json
import signal
import subprocess
from pathlib import Path

import httpx
import pytest

from swarmhold import SwarmholdClient
from swarmhold.models.spawners import QueueSpawner
from tests.e2e.cli.conftest import SWARMHOLD
from tests.support.pids import alive, children
from tests.support.processes import own_variables
from tests.support.waiting import eventually, wait_until


async def _try(url: str, key: str, queue: str) -> None:
    """Have the worker carry out a task, and another that asks a senior."""
    async with SwarmholdClient(url) as client:
        operator = await client.attach_operator(key, "me")
        senior = await client.attach_senior(key, "mira")
        plain = await operator.start_task("poet", "two lines")
        asking = await operator.start_task("poet", "shall I?")
        for task in (plain, asking):
            await operator.dispatch(task.id, QueueSpawner(queue=queue))
        assert (await operator.wait_for(plain.id)).last_result == "poet received: two lines"
        await eventually(senior.open_questions, awaited="the worker's question")
        [question] = await senior.open_questions()
        await senior.answer(question.key, "yes")
        assert (await operator.wait_for(asking.id)).last_result == "The senior said: yes"


@pytest.mark.parametrize("ending", [signal.SIGINT, signal.SIGTERM])
def test_a_server_a_worker_and_the_console_are_there_until_a_signal(tmp_path: Path, ending: signal.Signals) -> None:
    """The console is opened, the worker plays an agent that asks, and a signal ends and removes all of it."""
    opened = tmp_path / "opened"
    browser = tmp_path / "browser"
    browser.write_text(f'#!/bin/sh\nprintf %s "$1" > {opened}\n')
    browser.chmod(0o755)
    temporary = tmp_path / "tmp"
    temporary.mkdir()
    own = own_variables()
    with subprocess.Popen(
        [SWARMHOLD, "dev", "--json"],
        env={**own, "BROWSER": str(browser), "TMPDIR": str(temporary)},
        stdout=subprocess.PIPE,
    ) as process:
        try:
            assert process.stdout is not None
            said = json.loads(process.stdout.readline())
            key = Path(said["root_key"]).read_text().strip()
            wait_until(lambda: opened.exists() and opened.read_text() == said["console"], awaited="the console")
            started = children(process.pid)
            asyncio.run(_try(said["url"], key, said["queue"]))
            process.send_signal(ending)
            assert process.wait(100) == 0
        finally:
            process.kill()
    assert started
    assert [pid for pid in started if alive(pid)] == []
    assert list(temporary.iterdir()) == []
    with pytest.raises(httpx.ConnectError):
        httpx.get(said["console"], trust_env=False)
