"""The recipes for agent frameworks in docs/connect, run as they stand: the real framework, and a model on loopback."""

import re
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass

import pytest

from tests.e2e.adapters.conftest import DEADLINE_S, Asking
from tests.support.scripted_models import Calls, scripted_model
from tests.support.sources import ROOT
from tests.support.waiting import wait_until

TOOL = """
def deploy(region: str) -> str:
    "Deploy to a region."
    with open("ran", "a") as file:
        print(region, file=file)
    return f"deployed to {region}"
"""
ADDRESS = 'URL, KEY = os.environ["SWARMHOLD_URL"], os.environ["SWARMHOLD_KEY"]'
OPENAI_AGENTS = f"""
import asyncio, os
from agents import Agent, function_tool

@function_tool(needs_approval=True)
{TOOL.strip()}
"""
PYDANTIC_AI = f"""
import asyncio, os
from pydantic_ai import Agent, DeferredToolRequests, Tool

model = "openai-chat:scripted"
{TOOL}
"""
LANGGRAPH = f"""
import asyncio, os
import httpx
from langchain.agents import create_agent
from langchain.agents.middleware import HumanInTheLoopMiddleware
from langchain_core.language_models import BaseChatModel
from langchain_core.messages import AIMessage, convert_to_openai_messages
from langchain_core.output_parsers.openai_tools import parse_tool_calls
from langchain_core.outputs import ChatGeneration, ChatResult
from langgraph.checkpoint.sqlite.aio import AsyncSqliteSaver

class Model(BaseChatModel):
    @property
    def _llm_type(self):
        return "scripted"

    def bind_tools(self, tools, **options):
        return self

    def _generate(self, messages, stop=None, run_manager=None, **options):
        body = {{"messages": convert_to_openai_messages(messages)}}
        reply = httpx.post(os.environ["OPENAI_BASE_URL"] + "/chat/completions", json=body, trust_env=False)
        made = reply.json()["choices"][0]["message"]
        calls = parse_tool_calls(made.get("tool_calls") or [], return_id=True)
        return ChatResult(generations=[ChatGeneration(message=AIMessage(made["content"] or "", tool_calls=calls))])

model = Model()
{TOOL}
"""


@dataclass(frozen=True)
class Framework:
    """The page of its recipe, what the recipe expects to be there, and what a person can do about a tool."""

    page: str
    around: str
    edits: bool = True
    keeps_runs: bool = True
    """A run that has ended is not begun again by the same program."""
    review: tuple[str, str] = ("", "")
    """What in the recipe to replace by what, so that a tool which was cut off is not run again."""

    def program(self) -> str:
        """The recipe as a program."""
        text = (ROOT / "docs" / "connect" / f"{self.page}.md").read_text()
        [recipe] = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
        assert len([line for line in recipe.splitlines() if line]) < 10
        return f"{self.around}\n{ADDRESS}\n{recipe}\nasyncio.run(main())\n"

    def deadly_program(self) -> str:
        """The recipe with a tool by which the program dies."""
        program = self.program().replace(*self.review)
        return program.replace('    return f"deployed', '    os._exit(9)\n    return f"deployed')


FRAMEWORKS = [
    Framework("openai-agents", OPENAI_AGENTS, edits=False),
    Framework("pydantic-ai", PYDANTIC_AI),
    Framework(
        "langgraph",
        LANGGRAPH,
        keeps_runs=False,
        review=('{"deploy": True}', '{"deploy": True}, interrupt_mode="per_call"'),
    ),
]
pytestmark = pytest.mark.slow
each = pytest.mark.parametrize("framework", FRAMEWORKS, ids=lambda found: found.page)


@pytest.fixture
def models(asking: Asking) -> Iterator[ExitStack]:
    """Closes the model services of a test."""
    with ExitStack() as stack:
        yield stack


def use_model(asking: Asking, models: ExitStack, *turns: Calls) -> None:
    """Let the programs of the test use a model with this script."""
    url = models.enter_context(scripted_model(*turns))
    keys = {"OPENAI_API_KEY": "key-of-the-test", "OPENAI_AGENTS_DISABLE_TRACING": "1"}
    asking.variables |= {"OPENAI_BASE_URL": f"{url}/v1", **keys}


def ran(asking: Asking) -> list[str]:
    """The regions that were deployed to."""
    path = asking.folder / "ran"
    return path.read_text().splitlines() if path.exists() else []


def started_with_two_questions(asking: Asking, program: str) -> tuple[subprocess.Popen[str], dict[str, str]]:
    """A program, and the keys of its questions by the regions that they are about."""
    process = asking.start(program)

    def asked() -> bool:
        assert process.poll() is None, process.communicate()
        return len(asking.open()) == 2

    wait_until(asked)
    found = [asking.swarm.question(one["key"]) for one in asking.open()]
    return process, {one["action"]["arguments"]["region"]: one["key"] for one in found}


@each
def test_killed_at_each_wait_it_deploys_once(framework: Framework, asking: Asking, models: ExitStack) -> None:
    """The model asks a question, then uses a tool; the program dies while it waits for each of the answers."""
    question = {"question": "Which region?", "choices": ["eu", "us"]}
    use_model(asking, models, [("ask_human", question)], [("deploy", {"region": "eu"})])
    program = framework.program()
    first = asking.killed_while_it_waits(program)
    assert (first["question"], first["choices"], first.get("action")) == ("Which region?", ["eu", "us"], None)
    asking.swarm.answer(first["key"], "eu")
    second = asking.killed_while_it_waits(program)
    assert second["action"] == {"name": "deploy", "arguments": {"region": "eu"}}
    edited = {"decision": "edit", "edited_action": {"name": "deploy", "arguments": {"region": "us"}}}
    asking.swarm.answer(second["key"], edited if framework.edits else {"decision": "approve"})
    assert ran(asking) == []
    region = "us" if framework.edits else "eu"
    assert f"deployed to {region}" in asking.run(program)
    assert ran(asking) == [region]
    if framework.keeps_runs:
        again = asking.start(program)
        assert "AlreadyConsumed" in again.communicate(timeout=DEADLINE_S)[1]
    assert ran(asking) == [region]
    assert asking.open() == []


@each
def test_of_two_tools_the_rejected_one_does_not_run(framework: Framework, asking: Asking, models: ExitStack) -> None:
    """Both wait at once, nothing is consumed before both are decided, and the model learns why one was rejected."""
    use_model(asking, models, [("deploy", {"region": "eu"}), ("deploy", {"region": "us"})])
    process, keys = started_with_two_questions(asking, framework.program())
    asking.swarm.answer(keys["eu"], {"decision": "approve"})
    asking.swarm.answer(keys["us"], {"decision": "reject", "message": "not in the us today"})
    out, err = process.communicate(timeout=DEADLINE_S)
    assert process.returncode == 0, err
    assert "not in the us today" in out
    assert ran(asking) == ["eu"]
    eu, us = (asking.swarm.question(keys[region]) for region in ("eu", "us"))
    assert eu["consumed_at"] >= us["answered_at"]
    assert "consumed_at" not in us


@each
def test_a_tool_that_was_cut_off_does_not_run_again(framework: Framework, asking: Asking, models: ExitStack) -> None:
    """The program dies while the tool runs; the next one learns that the approval was given out."""
    use_model(asking, models, [("deploy", {"region": "eu"})])
    program = framework.deadly_program()
    question = asking.killed_while_it_waits(program)
    asking.swarm.answer(question["key"], {"decision": "approve"})
    assert asking.start(program).wait(DEADLINE_S) == 9
    assert "AlreadyConsumed" in asking.start(program).communicate(timeout=DEADLINE_S)[1]
    assert ran(asking) == ["eu"]
