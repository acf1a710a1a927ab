"""The recipes for the Agent Approval Protocol, run as they stand by its own library, with restarts of the server."""

import asyncio
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from agentapprovalprotocol import AsyncClient
from agentapprovalprotocol.pydantic_ai import ApprovalCapability
from fastapi import FastAPI
from pydantic_ai import Agent, DeferredToolRequests
from pydantic_ai.models.test import TestModel

from tests.e2e.adapters.conftest import Asking
from tests.support.ports import LOOPBACK
from tests.support.processes import ServerProcess
from tests.support.receiver import listening
from tests.support.scripted_models import scripted_model
from tests.support.sources import ROOT
from tests.support.spreading import server_process
from tests.support.swarm import Swarm
from tests.support.waiting import eventually

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


@pytest.mark.slow
async def test_a_paused_run_is_woken_by_its_decision(tmp_path: Path) -> None:
    """The run ends while it waits, the server is killed and started again, and the receiver continues the run."""
    ran: list[str] = []
    kept: dict[str, Any] = {}
    approvals = ApprovalCapability("http://localhost", "none before it is registered", mode="async")
    agent = Agent(TestModel(), output_type=[str, DeferredToolRequests], capabilities=[approvals])

    @agent.tool_plain
    def deploy(region: str) -> str:
        ran.append(region)
        return f"deployed to {region}"

    def save(conversation: Any) -> None:
        kept[conversation.conversation_id] = conversation

    application = FastAPI()
    async with listening(application) as port:
        hook = f"http://{LOOPBACK}:{port}/aap/events"
        settings = {"SWARMHOLD_DOORS__AAP__ENABLED": "yes", "SWARMHOLD_WEBHOOKS__ALLOW": hook}
        with server_process(tmp_path / "data", settings) as node:
            await asyncio.to_thread(node.start)
            names: dict[str, Any] = {"agent": agent, "load": kept.get, "save": save, "application": application}
            names |= {"URL": node.url, "ROOT_KEY": node.root_key(), "HOOK": hook}
            exec(recipes()[2], names)  # noqa: S102 - the recipe, as it stands
            made = await names["register"]()
            approvals.gate.client = AsyncClient(f"{node.url}/aap", made.token)
            paused = await agent.run("Deploy.")
            assert isinstance(paused.output, DeferredToolRequests)
            save(paused.conversation)
            await asyncio.to_thread(node.kill)
            await asyncio.to_thread(node.start)
            swarm = Swarm(node.url, node.root_key())
            [question] = swarm.call(swarm.senior, "GET", "/v1/senior/questions?status=open")["items"]
            assert ran == []
            await asyncio.to_thread(swarm.answer, question["key"], APPROVE)
            await eventually(lambda: ran)
            swarm.close()
            await asyncio.to_thread(node.stop)
    assert len(ran) == 1
