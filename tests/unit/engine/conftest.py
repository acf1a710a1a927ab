"""An engine in memory."""

from collections.abc import AsyncIterator

import pytest

from app.domain.audit import AuditSeal
from app.domain.tokens import SigningKey
from app.state.opening import open_store
from tests.support.clocks import HandClock
from tests.support.ground import CFG, Ground
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


@pytest.fixture
async def ground(clock: HandClock) -> AsyncIterator[Ground]:
    """An open store in memory, and what the parts need beside it."""
    store = open_store(":memory:", clock=clock, policy=CFG.hold, seal=AuditSeal([SigningKey("test", b"a" * 32)]))
    await store.open()
    yield Ground(store=store, clock=clock)
    await store.close()
