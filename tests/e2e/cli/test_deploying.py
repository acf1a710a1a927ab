"""The proxies, the unit and the recipes that ship do what the documents say."""

import asyncio
import json
import re
import runpy
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from swarmhold import Job, QueueSpawner, SwarmholdClient
from tests.e2e.cli.conftest import SWARMHOLD, surroundings
from tests.support.ports import free_port
from tests.support.processes import ServerProcess
from tests.support.proxies import pass_polls_streams_and_sockets, running_proxy
from tests.support.sources import ROOT

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
    url = f"http://127.0.0.1:{port}"
    with running_proxy(command, url, tmp_path):
        yield url


async def test_polls_streams_and_sockets_pass_a_proxy(node: ServerProcess, proxy: str) -> None:
    """With the files that ship, on the same machine."""
    await pass_polls_streams_and_sockets(proxy, node.root_key(), bridge="behind")


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="there is no systemd here")
def test_systemd_understands_the_unit(tmp_path: Path) -> None:
    """Once the path is that of an installed command."""
    unit = tmp_path / UNIT.name
    unit.write_text(UNIT.read_text().replace("/opt/swarmhold/.venv/bin/swarmhold", SWARMHOLD))
    done = subprocess.run(["systemd-analyze", "verify", "--man=no", str(unit)], capture_output=True, text=True)
    assert UNIT.name not in done.stderr


async def test_the_recipes_work_together(node: ServerProcess, tmp_path: Path) -> None:
    """A program works as an agent for the job that cron starts."""
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


async def test_a_graph_is_a_workers_function(node: ServerProcess, tmp_path: Path) -> None:
    """With LangGraph itself, and a node in the place of a model."""
    from langgraph.graph import END, START, MessagesState, StateGraph

    def answer(state: MessagesState) -> dict[str, list[tuple[str, str]]]:
        return {"messages": [("assistant", f"done: {state['messages'][-1].content}")]}

    builder: Any = StateGraph(MessagesState)
    builder.add_node("model", answer)
    builder.add_edge(START, "model")
    builder.add_edge("model", END)
    recipe = tmp_path / "graph_worker.py"
    recipe.write_text(_recipe("python", "async def work"))
    work = runpy.run_path(str(recipe), {"Job": Job, "graph": builder.compile()})["work"]
    key = node.root_key()
    async with SwarmholdClient(node.url) as server:
        operator = await server.attach_operator(key, "op")
        working = asyncio.create_task(server.queue_worker(key, "graphs", work).run())
        try:
            task = await operator.start_task("graph", "a plan")
            await operator.dispatch(task.id, QueueSpawner(queue="graphs"))
            assert (await operator.wait_for(task.id)).last_result == "done: a plan"
        finally:
            working.cancel()
            await asyncio.gather(working, return_exceptions=True)
