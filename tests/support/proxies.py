"""Real proxies in front of nodes, and what has to pass them."""

import asyncio
import contextlib
import os
import shutil
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import aclosing
from datetime import timedelta
from pathlib import Path

import httpx
import pytest

from swarmhold import SwarmholdClient
from swarmhold.models.spawners import InProcessSpawner
from tests.support.waiting import wait_until


@contextlib.contextmanager
def running_proxy(command: Sequence[str], url: str, home: Path) -> Iterator[None]:
    """Run a proxy until the block ends, which begins when it passes requests on. Skips the test where there is none."""
    if shutil.which(command[0]) is None:
        pytest.skip(f"there is no {command[0]} here; `make proxy-deps` as root installs it")
    with subprocess.Popen(command, env={**os.environ, "HOME": str(home)}) as process:
        try:
            wait_until(lambda: process.poll() is not None or _answers(url), awaited="the proxy to pass a request on")
            assert process.poll() is None
            yield
        finally:
            process.kill()


def _answers(url: str) -> bool:
    try:
        return httpx.get(f"{url}/healthz", trust_env=False).status_code == 200
    except httpx.TransportError:
        return False


async def pass_polls_streams_and_sockets(url: str, root_key: str, *, bridge: str) -> None:
    """A long poll ends with its task, an event arrives while the stream goes on, a console gets its question."""
    async with SwarmholdClient(url) as server:
        operator = await server.attach_operator(root_key, bridge)
        senior = await server.attach_senior(root_key, "mira")
        task = await operator.start_task("a", "x")
        polling = asyncio.create_task(operator.poll(task.id, hold=timedelta(seconds=100)))
        async with aclosing(operator.events(after=0, task=task.id)) as events, senior.console(bridge) as desk:
            first = await asyncio.wait_for(anext(events), 100)
            question = await operator.ask(task.id, "Well?", bridge_id=bridge)
            assert (await polling).suspended_on == [question.key]
            assert (await asyncio.wait_for(desk.next_ask(), 100)).key == question.key
            await desk.answer(question.key, "yes")
            assert (await operator.await_answer(question.key)) == "yes"
            assert getattr(first, "kind", None) == "task_created"
        await operator.dispatch(task.id, InProcessSpawner(function="identity"))
        assert (await operator.wait_for(task.id)).last_result == "x"
