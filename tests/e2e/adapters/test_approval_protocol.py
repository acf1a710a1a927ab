"""The recipes for the Agent Approval Protocol, run as they stand by its own library, with restarts of the server."""

import re
from collections.abc import Iterator

import pytest

from tests.e2e.adapters.conftest import Asking
from tests.support.processes import ServerProcess
from tests.support.scripted_models import scripted_model
from tests.support.sources import ROOT
from tests.support.spreading import server_process

AROUND = """
import os
URL, KEY = os.environ["SWARMHOLD_URL"], os.environ["SWARMHOLD_KEY"]

def deploy(region: str) -> str:
    "Deploy to a region."
    with open("ran", "a") as file:
        print(region, file=file)
    return f"deployed to {region}"
"""
AGENT = 'from pydantic_ai import Agent\nmodel = "openai-chat:scripted"\n'
APPROVE = {"decision": "approve"}


@pytest.fixture(scope="module")
def node(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    """A node whose approval provider is switched on."""
    settings = {"SWARMHOLD_DOORS__AAP__ENABLED": "yes"}
    with server_process(tmp_path_factory.mktemp("node") / "data", settings) as server:
        server.start()
        yield server
        server.stop()


def recipes() -> list[str]:
    """The programs of the page."""
    page = (ROOT / "docs" / "connect" / "approval-protocol.md").read_text()
    found = re.findall(r"```python\n(.*?)```", page, re.DOTALL)
    assert all(len(recipe.splitlines()) < 10 for recipe in found)
    return found


def test_a_program_comes_back_for_its_approval(asking: Asking) -> None:
    """It asks and ends; the server is killed; after the approval the next run acts, and no run after that."""
    program = AROUND + recipes()[0]
    assert asking.run(program).startswith("Pending")
    asking.node.kill()
    asking.node.start()
    assert asking.run(program).startswith("Pending")
    [question] = asking.open()
    asking.swarm.answer(question["key"], APPROVE)
    asking.node.kill()
    asking.node.start()
    assert asking.run(program) == "deployed to eu"
    assert "already attempted" in asking.run(program)
    assert (asking.folder / "ran").read_text() == "eu\n"
    done = asking.swarm.question(question["key"])
    assert done["outcome"]["status"] == "succeeded"


@pytest.mark.slow
def test_an_agent_waits_for_each_of_its_tools(asking: Asking) -> None:
    """The capability of the library asks, and the program goes on with the decision."""
    with scripted_model([("deploy", {"region": "eu"})]) as url:
        asking.variables |= {"OPENAI_BASE_URL": f"{url}/v1", "OPENAI_API_KEY": "key-of-the-test"}
        process = asking.start(AROUND + AGENT + recipes()[1])
        question = asking.asked_by(process)
        asking.swarm.answer(question["key"], APPROVE)
        out, err = process.communicate(timeout=100)
    assert out.strip() == "deployed to eu", err
