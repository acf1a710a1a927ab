"""The recipes in docs/connect for scripts, run as they stand."""

import asyncio
import json
import os
import re
import subprocess
from pathlib import Path

import pytest
from mcp.client import Client
from mcp.client.stdio import StdioServerParameters, stdio_client

from tests.e2e.adapters.conftest import DEADLINE_S, Asking
from tests.e2e.cli.conftest import SWARMHOLD, place, surroundings
from tests.support.sources import ROOT
from tests.support.waiting import wait_until

CONNECT = ROOT / "docs" / "connect"


def recipes(page: str) -> list[str]:
    """The shell scripts of a page."""
    found = re.findall(r"```bash\n(.*?)```", (CONNECT / f"{page}.md").read_text(), re.DOTALL)
    assert all(len(recipe.splitlines()) < 10 for recipe in found)
    return found


def script(folder: Path, name: str, text: str) -> None:
    """A program in the folder."""
    (folder / name).write_text(f"#!/bin/bash\n{text}\n")
    (folder / name).chmod(0o755)


def run(asking: Asking, recipe: str) -> subprocess.Popen[str]:
    """A recipe that runs beside the test."""
    path = f"{Path(SWARMHOLD).parent}:/usr/local/bin:/usr/bin:/bin"
    environment = surroundings(asking.node, SWARMHOLD_KEY=asking.key, PATH=path)
    started = subprocess.Popen(
        ["bash", "-c", recipe],
        cwd=asking.folder,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    asking.running.append(started)
    return started


@pytest.fixture(autouse=True)
def programs(asking: Asking) -> None:
    """What the recipes do with leave leaves a line."""
    for name in ("deploy.sh", "rotate.sh"):
        script(asking.folder, name, "echo ran >> ran")


def test_a_script_that_was_killed_deploys_once(asking: Asking) -> None:
    """It waits, is killed, and goes on by the answer that came meanwhile; again it does nothing."""
    _, recipe = recipes("shell")
    waiting = run(asking, recipe)
    wait_until(lambda: len(asking.open()) == 1)
    waiting.kill()
    [question] = asking.open()
    asking.swarm.answer(question["key"], "yes")
    statuses = [run(asking, recipe).wait(DEADLINE_S) for _ in range(2)]
    assert (statuses, (asking.folder / "ran").read_text()) == ([0, 1], "ran\n")
    assert asking.open() == []


def test_a_job_asks_once_and_works_once(asking: Asking) -> None:
    """Runs before the answer do nothing, and of those after it the first one does the work."""
    [recipe] = recipes("cron")
    for _ in range(2):
        assert run(asking, recipe).wait(DEADLINE_S) == 0
    [question] = asking.open()
    assert not (asking.folder / "ran").exists()
    asking.swarm.answer(question["key"], "yes")
    for _ in range(2):
        assert run(asking, recipe).wait(DEADLINE_S) == 0
    assert (asking.folder / "ran").read_text() == "ran\n"
    assert asking.open() == []


def test_a_recipe_makes_its_key(asking: Asking) -> None:
    """By the commands as they are printed."""
    setup = recipes("shell")[0].replace("http://127.0.0.1:7777", asking.node.url)
    own = "\n".join(f"export {name}={value}" for name, value in place(asking.node).items())
    done = run(asking, f"unset SWARMHOLD_KEY\n{own}\n{setup}\n[[ $SWARMHOLD_KEY == shk_* ]]")
    assert done.wait(DEADLINE_S) == 0, done.communicate()


async def test_a_desktop_client_starts_the_bridge(asking: Asking) -> None:
    """The commands print what the page shows, and with the key in its place the official client works by it."""
    page = (CONNECT / "desktop-cursor.md").read_text()
    [shown] = re.findall(r"```json\n(.*?)```", page, re.DOTALL)
    [commands] = recipes("desktop-cursor")
    # The page is for a server at the default address.
    out, err = await asyncio.to_thread(run(asking, f"unset SWARMHOLD_URL SWARMHOLD_KEY\n{commands}").communicate)
    program = json.loads(shown)["mcpServers"]["swarmhold"]
    assert "{" in out, err
    assert json.loads(out[out.index("{") :])["mcpServers"]["swarmhold"] == program
    configured = StdioServerParameters(
        command=str(Path(SWARMHOLD).with_name(program["command"])),
        args=[*program["args"], "--url", asking.node.url],
        env={**os.environ, **program["env"], "SWARMHOLD_KEY": asking.key},
    )
    async with Client(stdio_client(configured)) as client:
        answer = asyncio.create_task(client.call_tool("ask_human", {"question": "May I?", "hold": 50}))
        [question] = await asyncio.to_thread(wait_until, asking.open)
        asking.swarm.answer(question["key"], "yes")
        said = (await answer).structured_content
        assert said is not None
        assert said["answer"] == "yes"


def test_the_guides_program_acts_once(asking: Asking) -> None:
    """Killed while it waits it goes on; when it comes again, the approval was given out."""
    guide = (ROOT / "docs" / "guide.md").read_text()
    [program] = re.findall(r"```python\n(# deploy.py\n.*?)```", guide, re.DOTALL)
    question = asking.killed_while_it_waits(program)
    asking.swarm.answer(question["key"], {"decision": "approve"})
    assert asking.run(program) == "deploying to all regions"
    again = asking.start(program)
    assert "AlreadyConsumed" in again.communicate(timeout=DEADLINE_S)[1]
    assert again.returncode == 1
