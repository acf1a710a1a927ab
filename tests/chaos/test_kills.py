"""A real node under load is killed at random moments and started again: nothing acknowledged is lost or doubled."""

import asyncio

import pytest

from tests.chaos.lives import PROGRAMS
from tests.chaos.survival import LONG, ROUNDS, SEED, Strike, diagnose, survive
from tests.conftest import StartServer
from tests.support.processes import ServerProcess

pytestmark = [pytest.mark.chaos, pytest.mark.slow, pytest.mark.timeout(0 if LONG else 600)]


def _kill(node: ServerProcess) -> Strike:
    """Kill -9 and start again."""
    return lambda _: asyncio.to_thread(node.restart)


async def test_nothing_acknowledged_is_lost_or_doubled(start_server: StartServer) -> None:
    """On a file: kill, start, and go on, as often as asked; every life ends, and the books agree with every reply."""
    node = start_server(settings={"SWARMHOLD_SPAWN__PROGRAMS": PROGRAMS})

    ledger, wrong = await survive(node, _kill(node), rounds=ROUNDS, seed=SEED)

    assert wrong == []
    assert len(set(ledger.tasks.values())) > 5, "too little happened to mean anything"
    assert await asyncio.to_thread(diagnose, node) == []
    assert await asyncio.to_thread(node.stop) == 0


async def test_nothing_is_lost_on_postgres_either(start_server: StartServer, postgres_url: str) -> None:
    """A node that is killed again and again over PostgreSQL, which outlives it, breaks no promise."""
    settings = {"SWARMHOLD_SPAWN__PROGRAMS": PROGRAMS, "SWARMHOLD_DATABASE_URL": postgres_url}
    node = start_server(settings=settings)

    _, wrong = await survive(node, _kill(node), rounds=ROUNDS if LONG else 1, seed=SEED + 1)

    assert wrong == []
    assert await asyncio.to_thread(diagnose, node) == []
