"""What reaches a child process, and who takes an attempt over, under a real engine and store."""

from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Any

import pytest

from app.domain.access import Role
from app.domain.attempts import DispatchOutcome, Outcome
from app.domain.json import Json
from app.domain.outputs import Final
from app.domain.tasks import TaskSpec
from app.domain.tokens import CapToken
from app.engine.engine import Engine
from app.engine.ops.rules import EngineCfg
from app.engine.parts import default_parts
from app.spawning.backends.registry import Registries
from app.spawning.catalog import shipped_catalog
from app.spawning.ports import Exit
from app.spawning.processes.programs import Program
from tests.support.backends import Calls, ScriptedBackend

SHELL = {"sh": Program(path="/bin/sh", args=("-c",), allow_args=True)}


class Swarm:
    """A started engine and an operator whose session names the backend `main`."""

    def __init__(self, engine: Engine, token: CapToken) -> None:
        self.engine = engine
        self.token = token

    async def outcome(self, spec: dict[str, Any], *layers: str, prompt: str = "work") -> DispatchOutcome:
        """How a dispatch came out."""
        task_id = await self.engine.start_task(self.token, TaskSpec(agent="coder", initial_directive=prompt))
        return await self.engine.dispatch_attempt_with(
            self.token, task_id, self.engine.dispatcher.build(spec, layers), wait=timedelta(seconds=20)
        )


@pytest.fixture
async def swarm() -> AsyncIterator[Swarm]:
    """One in memory."""
    registries = Registries()
    catalog = shipped_catalog(operators=registries.operators, programs=SHELL)
    async with Engine(default_parts(EngineCfg(), registries=registries, catalog=catalog)) as engine:
        token = await engine.attach_with_ids(
            "tester", Role.OPERATOR, timedelta(hours=1), None, None, "main", "main", {}, {}, None
        )
        yield Swarm(engine, token)


def shell(script: str) -> dict[str, Any]:
    """A process spawner that runs this script."""
    return {"kind": "process", "program": "sh", "args": [script]}


async def test_a_child_passes_with_what_it_wrote(swarm: Swarm) -> None:
    """The prompt on its standard input, its standard output the value."""
    outcome = await swarm.outcome(shell("tr a-z A-Z"), prompt="hello")

    assert (outcome.outcome, outcome.value) == (Outcome.PASS, Json.of("HELLO"))


async def test_the_backend_takes_over_what_was_meant_for_a_queue(swarm: Swarm) -> None:
    """With the session's backend, no worker of the queue is waited for."""
    done = Exit(final=Final(value=Json.of("mine"), ok=True))
    await swarm.engine.register_operator("main", ScriptedBackend(Calls(), lambda: done))
    outcome = await swarm.outcome({"kind": "queue", "queue": "q"}, "operator_delegate")

    assert (outcome.outcome, outcome.value) == (Outcome.PASS, Json.of("mine"))


async def test_resources_come_into_the_prompt(swarm: Swarm) -> None:
    """The worker gets the filled prompt."""
    await swarm.engine.set_resource("who", "world")
    outcome = await swarm.outcome(shell("cat"), "input_inject", prompt="hello {{resource:who}}{{resource:none}}")

    assert outcome.value == Json.of("hello world{{resource:none}}")
