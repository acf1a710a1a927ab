"""The client package by itself: built as a distribution, installed without the server, used beside a foreign `app`."""

import json
import os
import re
import subprocess
import sys
import zipfile
from importlib.metadata import Distribution, distribution
from pathlib import Path

import pytest

from tests.e2e.cli.conftest import surroundings
from tests.support.processes import ServerProcess
from tests.support.sources import ROOT

CLIENT = ROOT / "clients" / "python"
REQUIRED = {"httpx", "pydantic", "websockets"}

PROGRAM = """
import asyncio, json, os, sys
from datetime import timedelta
from importlib import import_module
from importlib.util import find_spec

import app
import swarmhold
from swarmhold import Job, QueueSpawner, SwarmholdClient

SOON = timedelta(seconds=60)
KEY = os.environ["KEY"]


def needed(adapter: str) -> str:
    try:
        import_module(f"swarmhold.adapters.{adapter}")
    except ImportError as error:
        return str(error).partition("pip install ")[2]
    return "nothing"


async def work(job: Job) -> object:
    question = await job.worker.ask("May I?", choices=["yes", "no"])
    return {"answer": await job.worker.await_answer(question.key, deadline=SOON), "by": app.NAME}


async def main() -> None:
    async with SwarmholdClient(os.environ["SWARMHOLD_URL"]) as client:
        operator = await client.attach_operator(KEY, "alone")
        senior = await client.attach_senior(KEY, "alone")
        task = await operator.start_task("asker", "Ask, then answer.")
        await operator.dispatch(task.id, QueueSpawner(queue="alone"))
        worker = client.queue_worker(KEY, "alone", work, hold=timedelta(seconds=1))
        running = asyncio.create_task(worker.run())
        async with senior.console("alone") as console:
            ask = await console.next_ask()
            await console.answer(ask.key, "yes")
        done = await operator.wait_for(task.id, deadline=SOON)
        worker.stop()
        await running
    print(json.dumps({
        "status": done.status,
        "result": done.last_result,
        "zone": str(done.updated_at.tzinfo),
        "from": os.path.dirname(swarmhold.__file__),
        "of the server": [name for name in ("orjson", "structlog", "typer", "fastapi") if find_spec(name)],
        "adapters": [needed(name) for name in ("claude", "langgraph", "openai_agents", "pydantic_ai")],
    }))


asyncio.run(main())
"""


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The client's wheel, built without an index by the build backend that development has anyway."""
    folder = tmp_path_factory.mktemp("wheel")
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "wheel", "--quiet"]
    subprocess.run([*pip, "--no-index", "--no-deps", "--no-build-isolation", "-w", folder, CLIENT], check=True)
    [built] = folder.iterdir()
    return built


def requirements(of: Distribution) -> set[str]:
    """The distributions that this one needs here, without its extras."""
    wanted = (text for text in of.requires or () if "extra ==" not in text)
    return {re.split(r"[^A-Za-z0-9._-]", text)[0].lower() for text in wanted}


def installed(name: str) -> Distribution | None:
    """The distribution in this environment; None for one that is only needed elsewhere, as on another system."""
    try:
        return distribution(name)
    except ModuleNotFoundError:
        return None


def link_with_requirements(names: set[str], site: Path) -> None:
    """Put these distributions and all that they need into another environment, and nothing else."""
    linked: set[str] = set()
    while names:
        name = names.pop()
        linked.add(name)
        found = installed(name)
        if found is None:
            continue
        for part in {file.parts[0] for file in found.files or ()} - {".."}:
            if not (site / part).exists():
                (site / part).symlink_to(Path(str(found.locate_file(part))))
        names |= requirements(found) - linked


def test_the_wheel_holds_the_client_alone(wheel: Path) -> None:
    """It is typed and licensed, as old as the server, and needs three packages."""
    import app

    with zipfile.ZipFile(wheel) as built:
        names = built.namelist()
        [metadata] = [name for name in names if name.endswith(".dist-info/METADATA")]
        said = built.read(metadata).decode()
    assert {name.split("/")[0] for name in names} == {"swarmhold", metadata.split("/")[0]}
    assert {"swarmhold/py.typed", f"{metadata.split('/')[0]}/licenses/LICENSE"} <= set(names)
    assert f"\nVersion: {app.__version__}\n" in said
    assert "\nLicense-Expression: Apache-2.0\n" in said
    assert set(re.findall(r"^Requires-Dist: ([a-z]+)(?!.*extra ==)", said, re.MULTILINE)) == REQUIRED


def test_it_works_without_the_server_beside_a_foreign_app(wheel: Path, node: ServerProcess, tmp_path: Path) -> None:
    """A program with a package `app` of its own works with the client alone installed."""
    alone = tmp_path / "alone"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", alone], check=True)
    python = alone / "bin" / "python"
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "--python", python, "install", "--quiet"]
    subprocess.run([*pip, "--no-index", "--no-deps", wheel], check=True)
    [site] = alone.glob("lib/python*/site-packages")
    link_with_requirements(set(REQUIRED), site)
    program = tmp_path / "theirs" / "main.py"
    (program.parent / "app").mkdir(parents=True)
    (program.parent / "app" / "__init__.py").write_text('NAME = "their own app"\n')
    program.write_text(PROGRAM)

    environment = {
        name: value for name, value in surroundings(node, KEY=node.root_key()).items() if name != "PYTHONPATH"
    }
    done = subprocess.run(
        [python, program], capture_output=True, text=True, timeout=100, env=environment, cwd=program.parent
    )

    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == {
        "status": "pass",
        "result": {"answer": "yes", "by": "their own app"},
        "zone": "UTC",
        "from": os.fspath(site / "swarmhold"),
        "of the server": [],
        "adapters": [
            "'claude-agent-sdk>=0.2.189'",
            "'langgraph>=1.2'",
            "'openai-agents>=0.24'",
            "'pydantic-ai-slim>=2.60'",
        ],
    }


def test_the_client_has_the_licence_of_the_whole() -> None:
    """A distribution carries its own copy of the text."""
    assert (CLIENT / "LICENSE").read_bytes() == (ROOT / "LICENSE").read_bytes()
