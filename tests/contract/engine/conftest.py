"""An engine over each kind of store that servers use; the engine's unit tests have it in memory."""

from collections.abc import AsyncIterator

import pytest

from app.domain.access import Role
from app.domain.json import Json
from app.domain.questions import Ask
from tests.support.clocks import HandClock
from tests.support.desks import Desk
from tests.support.scripted import ScriptedFunction, TracingLayer
from tests.support.swarms import Plan, Swarm


@pytest.fixture
def store_url(durable_store_url: str) -> str:
    """The URL of an empty store, once per kind of store that servers use."""
    return durable_store_url


@pytest.fixture
def clock() -> HandClock:
    """A clock that stands until it is moved."""
    return HandClock()


@pytest.fixture
def function() -> ScriptedFunction:
    """The function `scripted`, which comes out as the test says."""
    return ScriptedFunction()


@pytest.fixture
def trace() -> list[str]:
    """What the layers `one` and `two` wrote down."""
    return []


@pytest.fixture
def plan(store_url: str, clock: HandClock, function: ScriptedFunction, trace: list[str]) -> Plan:
    """What the engine is made of."""
    plan = Plan(store_url=store_url, clock=clock, layers=[TracingLayer("one", trace), TracingLayer("two", trace)])
    plan.functions.register("scripted", function)
    return plan


@pytest.fixture
async def swarm(plan: Plan) -> AsyncIterator[Swarm]:
    """A running engine with an operator, a senior and an observer."""
    engine = plan.engine()
    async with engine:
        yield await Swarm.over(engine, plan)


@pytest.fixture
async def desk(swarm: Swarm) -> Desk:
    """Pat may answer by a link."""
    asked = await swarm.engine.questions.ask_alone(swarm.operator, Ask(question=Json.of("May I?")))
    made = Desk(swarm, {}, {}, asked)
    await made.key("pat", Role.SENIOR)
    return made
