"""A real node under load is killed at random moments and started again: nothing acknowledged is lost or doubled."""

import asyncio
import json
import os
import subprocess
import sys
from contextlib import AsyncExitStack, aclosing
from pathlib import Path
from random import Random

import pytest

from app.client import Observer, SwarmholdClient
from app.wire.events import Event
from tests.chaos.books import Books, faults
from tests.chaos.ledger import Ledger
from tests.chaos.lives import PATIENCE, PROGRAMS, QUEUE, Load
from tests.conftest import StartServer
from tests.support.processes import ServerProcess
from tests.support.waiting import eventually

LONG = "CHAOS_ROUNDS" in os.environ
ROUNDS = int(os.environ.get("CHAOS_ROUNDS", "2"))
SEED = int(os.environ.get("CHAOS_SEED", "20"))
LANES = 12
WORKERS = 4
# Replies between two kills; few enough that several kills meet the same lives.
FEWEST, MOST = 20, 240

pytestmark = [pytest.mark.chaos, pytest.mark.slow, pytest.mark.timeout(0 if LONG else 240)]


async def _follow(observer: Observer, followed: list[Event]) -> None:
    async with aclosing(observer.events(after=0)) as events:
        async for event in events:
            if isinstance(event, Event):
                followed.append(event)
            else:
                assert not event.lost  # it fell behind, and goes on where it was


async def _kill_now_and_then(node: ServerProcess, ledger: Ledger, rounds: int, seed: int) -> None:
    random = Random(seed)
    for _ in range(rounds):
        await ledger.until(ledger.acknowledged + random.randint(FEWEST, MOST))
        await asyncio.to_thread(node.kill)
        await asyncio.to_thread(node.start)
    await ledger.until(ledger.acknowledged + FEWEST)


async def _survive(node: ServerProcess, rounds: int, seed: int) -> tuple[Ledger, list[str]]:
    """Load, kills, and the end of every life; then what the books lack."""
    ledger, followed = Ledger(), list[Event]()
    async with AsyncExitStack() as stack:
        server = await stack.enter_async_context(SwarmholdClient(node.url, patience=PATIENCE))
        key = node.root_key()
        operator = await server.attach_operator(key, "chaos")
        senior = await server.attach_senior(key, "chaos-senior")
        observer = await server.attach_observer(key, "chaos-observer")
        load = Load(server, operator, senior, ledger, seed)
        queue = server.queue_worker(key, QUEUE, load.work, concurrency=WORKERS)
        async with asyncio.TaskGroup() as group:
            following = group.create_task(_follow(observer, followed))
            working = group.create_task(queue.run())
            living = group.create_task(load.run(LANES))
            await _kill_now_and_then(node, ledger, rounds, seed)
            load.stop()
            await living
            books = await Books.open(operator, senior, observer, ledger)
            await eventually(lambda: len(followed) >= len(books.feed), within=30, awaited="the follower to catch up")
            working.cancel()
            following.cancel()
    return ledger, faults(books, ledger, followed)


def _doctor(node: ServerProcess) -> list[dict]:
    """What is wrong with the node, as its own doctor finds."""
    done = subprocess.run(
        [
            str(Path(sys.executable).with_name("swarmhold")),
            "doctor",
            "--deep",
            "--json",
            "--data-dir",
            str(node.data_dir),
        ],
        capture_output=True,
        text=True,
        timeout=120,
        env={**os.environ, **node.settings},
    )
    return [finding for finding in json.loads(done.stdout)["findings"] if finding["state"] == "wrong"]


async def test_nothing_acknowledged_is_lost_or_doubled(start_server: StartServer) -> None:
    """On a file: kill, start, and go on, as often as asked; every life ends, and the books agree with every reply."""
    node = start_server(settings={"SWARMHOLD_SPAWN__PROGRAMS": PROGRAMS})

    ledger, wrong = await _survive(node, ROUNDS, SEED)

    assert wrong == []
    assert len(set(ledger.tasks.values())) > 5, "too little happened to mean anything"
    assert await asyncio.to_thread(_doctor, node) == []
    assert await asyncio.to_thread(node.stop) == 0


async def test_nothing_is_lost_on_postgres_either(start_server: StartServer, postgres_url: str) -> None:
    """The same on PostgreSQL, which outlives the node."""
    settings = {"SWARMHOLD_SPAWN__PROGRAMS": PROGRAMS, "SWARMHOLD_DATABASE_URL": postgres_url}
    node = start_server(settings=settings)

    _, wrong = await _survive(node, ROUNDS if LONG else 1, SEED + 1)

    assert wrong == []
    assert await asyncio.to_thread(_doctor, node) == []
