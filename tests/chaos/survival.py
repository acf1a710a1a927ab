"""Load on a real node while something strikes it again and again, and what was lost by it in the end."""

import asyncio
import json
import os
import subprocess
import sys
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack, aclosing
from datetime import timedelta
from pathlib import Path
from random import Random
from typing import Any, Protocol

from swarmhold import Observer, Operator, SwarmholdClient
from swarmhold.models.enums import Status
from swarmhold.models.events import Event, Lagged
from tests.chaos.books import ENDS, Books, faults
from tests.chaos.history import History, contradictions
from tests.chaos.ledger import Ledger
from tests.chaos.lives import CALL_RETRY, LEASE, QUEUE, Load
from tests.support.processes import ServerProcess
from tests.support.receiver import Receiver
from tests.support.waiting import eventually

LONG = "CHAOS_ROUNDS" in os.environ
ROUNDS = int(os.environ.get("CHAOS_ROUNDS", "2"))
SEED = int(os.environ.get("CHAOS_SEED", "20"))
LANES = 12
WORKERS = 4
# Replies between two strikes; few enough that several strikes meet the same lives.
FEWEST, MOST = 20, 240
LAST_LIVES_S = 300
"""How long the lives that have begun may go on when no more begin."""
UNSETTLED = (Status.PENDING, Status.RUNNING, Status.SUSPENDED)

Strike = Callable[[int], Awaitable[None]]
"""Hit the node, or what it stands on, for the so-manieth time; return when it works again."""


async def _follow(observer: Observer, followed: list[Event]) -> None:
    async with aclosing(observer.events(after=0)) as events:
        async for event in events:
            match event:
                case Event():
                    followed.append(event)
                case Lagged():
                    pass  # it fell behind, and goes on where it was


async def _strike_now_and_then(strike: Strike, ledger: Ledger, rounds: int, seed: int) -> None:
    random = Random(seed)
    for number in range(rounds):
        await ledger.until(ledger.acknowledged + random.randint(FEWEST, MOST))
        await strike(number)
    await ledger.until(ledger.acknowledged + FEWEST)


class Served(Protocol):
    """What clients reach: a node, or a balancer before several."""

    @property
    def url(self) -> str:
        """The root of the HTTP routes."""
        ...

    def root_key(self) -> str:
        """The key of all roles."""
        ...


async def survive(
    node: Served,
    strike: Strike,
    *,
    rounds: int,
    seed: int,
    receiver: Receiver | None = None,
    ledger: Ledger | None = None,
    history: History | None = None,
    lease: timedelta = LEASE,
) -> tuple[Ledger, list[str]]:
    """Load, strikes, and the end of every life; then what the books lack and what the history of all calls contradicts.

    The `receiver` gets the ends of all tasks by a webhook. What strikes have sent themselves is in the `ledger`.
    """
    ledger, history, followed = ledger or Ledger(), history or History(), list[Event]()
    async with AsyncExitStack() as stack:
        http = await stack.enter_async_context(history.client(node.url))
        server = await stack.enter_async_context(SwarmholdClient(node.url, call_retry=CALL_RETRY, http=http))
        key = node.root_key()
        operator = await server.attach_operator(key, "chaos")
        senior = await server.attach_senior(key, "chaos-senior")
        observer = await server.attach_observer(key, "chaos-observer")
        if receiver is not None:
            hook = await server.admin(key).create_webhook(receiver.url, events=ENDS)
            receiver.secret = hook.secret
        load = Load(server, operator, senior, ledger, seed=seed, lease=lease)
        queue = server.queue_worker(key, QUEUE, load.work, concurrency=WORKERS)
        async with asyncio.TaskGroup() as group:
            following = group.create_task(_follow(observer, followed))
            working = group.create_task(queue.run())
            living = group.create_task(load.run(LANES))
            watching = group.create_task(ledger.watch_stalls())
            await _strike_now_and_then(strike, ledger, rounds, seed)
            load.stop()
            await _ended(living, operator)
            books = await Books.open(operator, senior, observer, ledger)
            await eventually(lambda: len(followed) >= len(books.feed), awaited="the follower to catch up")
            if receiver is not None:
                ends = {int(event.cursor) for event in books.feed if event.kind in ENDS}
                await eventually(lambda: ends <= set(receiver.cursors), awaited="the webhook to catch up")
                books.delivered = receiver.cursors
            for task in (following, working, watching):
                task.cancel()
    return ledger, [*faults(books, ledger, followed), *contradictions(history.calls)]


async def _ended(living: asyncio.Task[None], operator: Operator) -> None:
    """Await the end of every life. Raises AssertionError with why the tasks of those that go on are not settled."""
    done, _ = await asyncio.wait((living,), timeout=LAST_LIVES_S)
    if not done:
        unsettled = [task for status in UNSETTLED async for task in operator.all_tasks(status=status)]
        reasons = [f"{task.spec.agent}: {(await operator.why(task.id)).as_json()}" for task in unsettled]
        living.cancel()
        raise AssertionError("lives that do not end:\n" + "\n".join(reasons))
    await living


def diagnose(node: ServerProcess) -> list[dict[str, Any]]:
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
    assert done.stdout, done.stderr
    return [finding for finding in json.loads(done.stdout)["findings"] if finding["state"] == "wrong"]
