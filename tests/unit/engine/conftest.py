"""An engine in memory."""

from collections.abc import AsyncIterator

import pytest

from tests.support.clocks import HandClock
from tests.support.swarms import Plan, Swarm


@pytest.fixture
def clock() -> HandClock:
    """A clock that stands until it is moved."""
    return HandClock()


@pytest.fixture
def plan(clock: HandClock) -> Plan:
    """What the engine is made of."""
    return Plan(store_url=":memory:", clock=clock)


@pytest.fixture
async def swarm(plan: Plan) -> AsyncIterator[Swarm]:
    """A running engine with an operator, a senior and an observer."""
    async with plan.engine() as engine:
        yield await Swarm.over(engine, plan)
