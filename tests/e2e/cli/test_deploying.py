"""The proxies, the unit and the recipes that ship do what the documents say."""

import asyncio
import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import aclosing
from datetime import timedelta
from pathlib import Path

import httpx
import pytest

from swarmhold import SwarmholdClient
from swarmhold.models.spawners import InProcessSpawner
from tests.e2e.cli.conftest import SWARMHOLD, surroundings
from tests.support.ports import free_port
from tests.support.processes import ServerProcess
from tests.support.sources import ROOT
from tests.support.waiting import eventually, wait_until

UNIT = ROOT / "deploy" / "systemd" / "swarmhold.service"
_BLOCK = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def _recipe(language: str, beginning: str) -> str:
    """The block of the recipes that begins so."""
    [found] = [
        text
        for kind, text in _BLOCK.findall((ROOT / "docs" / "recipes.md").read_text())
        if kind == language and text.startswith(beginning)
    ]
    return found


def _nginx(node: ServerProcess, port: int, folder: Path) -> list[str]:
    """The command that runs nginx with the file that ships, in front of the node."""
    shipped = (ROOT / "deploy" / "nginx" / "swarmhold.conf").read_text()
    site = shipped.replace("listen 8080;", f"listen 127.0.0.1:{port};").replace("127.0.0.1:7777", node.url[7:])
    paths = "".join(f"{name}_temp_path {folder};" for name in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi"))
    file = folder / "nginx.conf"
    file.write_text(
        f"daemon off; master_process off; pid {folder}/pid; error_log stderr; events {{}}\n"
        f"http {{ access_log off; {paths}\n{site} }}\n"
    )
    return ["nginx", "-c", str(file), "-p", str(folder), "-e", "stderr"]


def _caddy(node: ServerProcess, port: int, folder: Path) -> list[str]:
    """The command that runs Caddy with the file that ships, without TLS, in front of the node."""
    shipped = (ROOT / "deploy" / "caddy" / "Caddyfile").read_text()
    site = shipped.replace("swarm.example {", f"http://127.0.0.1:{port} {{").replace("127.0.0.1:7777", node.url[7:])
    file = folder / "Caddyfile"
    file.write_text(f"{{\n\tadmin off\n}}\n{site}")
    return ["caddy", "run", "--adapter", "caddyfile", "--config", str(file)]


@pytest.fixture(params=[_nginx, _caddy], ids=["nginx", "caddy"])
def proxy(request: pytest.FixtureRequest, node: ServerProcess, tmp_path: Path) -> Iterator[str]:
    """The URL of a proxy with the file that ships, in front of the node."""
    port = free_port()
    command = request.param(node, port, tmp_path)
    if shutil.which(command[0]) is None:
        pytest.skip(f"there is no {command[0]} here; `make proxy-deps` as root installs it")
    with subprocess.Popen(command, env={**os.environ, "HOME": str(tmp_path)}) as process:
        url = f"http://127.0.0.1:{port}"
        try:
            wait_until(lambda: process.poll() is not None or _answers(url), awaited="the proxy to pass a request on")
            assert process.poll() is None
            yield url
        finally:
            process.kill()


def _answers(url: str) -> bool:
    try:
        return httpx.get(f"{url}/healthz", trust_env=False).status_code == 200
    except httpx.TransportError:
        return False


async def test_polls_streams_and_sockets_pass_a_proxy(node: ServerProcess, proxy: str) -> None:
    """A long poll ends with its task, an event arrives while the stream goes on, a console gets its question."""
    async with SwarmholdClient(proxy) as server:
        operator = await server.attach_operator(node.root_key(), "behind")
        senior = await server.attach_senior(node.root_key(), "mira")
        task = await operator.start_task("a", "x")
        polling = asyncio.create_task(operator.poll(task.id, hold=timedelta(seconds=100)))
        async with aclosing(operator.events(after=0, task=task.id)) as events, senior.console("behind") as desk:
            first = await asyncio.wait_for(anext(events), 100)
            question = await operator.ask(task.id, "Well?", bridge_id="behind")
            assert (await polling).suspended_on == [question.key]
            assert (await asyncio.wait_for(desk.next_ask(), 100)).key == question.key
            await desk.answer(question.key, "yes")
            assert (await operator.await_answer(question.key)) == "yes"
            assert getattr(first, "kind", None) == "task_created"
        await operator.dispatch(task.id, InProcessSpawner(function="identity"))
        assert (await operator.wait_for(task.id)).last_result == "x"


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="there is no systemd here")
def test_systemd_understands_the_unit(tmp_path: Path) -> None:
    """Once the path is that of an installed command."""
    unit = tmp_path / UNIT.name
    unit.write_text(UNIT.read_text().replace("/opt/swarmhold/.venv/bin/swarmhold", SWARMHOLD))
    done = subprocess.run(["systemd-analyze", "verify", "--man=no", str(unit)], capture_output=True, text=True)
    assert UNIT.name not in done.stderr


async def test_the_recipes_work_together(node: ServerProcess, tmp_path: Path) -> None:
    """A program works as an agent for the job that cron starts; a script waits for an answer to its question."""
    worker = tmp_path / "agent_worker.py"
    worker.write_text(_recipe("python", '"""agent_worker.py'))
    given = surroundings(
        node, SWARMHOLD_KEY=node.root_key(), AGENT_COMMAND="echo done:", PATH=f"{Path(SWARMHOLD).parent}:/usr/bin:/bin"
    )
    working = await asyncio.create_subprocess_exec(sys.executable, str(worker), env=given)
    try:
        job = await asyncio.create_subprocess_exec(
            "sh", "-c", _recipe("sh", "set -eu\nswarmhold run"), env=given, cwd=tmp_path
        )
        assert await job.wait() == 0
    finally:
        working.kill()
        await working.wait()
    report = json.loads(await asyncio.to_thread((tmp_path / "report.json").read_text))
    assert (report["status"], report["last_result"]) == ("pass", "done: Summarise what happened yesterday.")

    asking = await asyncio.create_subprocess_exec(
        "sh", "-c", _recipe("sh", "set -eu\nAPI="), env=given, stdout=subprocess.PIPE
    )
    async with SwarmholdClient(node.url) as server:
        senior = await server.attach_senior(node.root_key(), "mira")
        await eventually(senior.open_questions, awaited="the script's question")
        [question] = await senior.open_questions()
        await senior.answer(question.key, "yes")
    printed, _ = await asking.communicate()
    assert printed.decode() == "answered: yes\n"
