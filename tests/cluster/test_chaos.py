"""Three nodes under load, and everything they stand on, are killed, stopped, restarted and cut off: nothing is lost.

`make chaos-cluster` goes on for `CHAOS_MINUTES`, an hour by default. `CHAOS_BUS=nats` has hints go by NATS.
"""

import asyncio
import itertools
import os
import signal
import sys
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping
from contextlib import AsyncExitStack, ExitStack
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from random import Random

import pytest

from tests.chaos.history import History
from tests.chaos.ledger import MINUTES
from tests.chaos.lives import PROGRAMS
from tests.chaos.survival import SEED, survive
from tests.cluster.conftest import LEASE_S, Cluster
from tests.support.balancing import Balancer, balancing
from tests.support.cutting import CuttingProxy, cutting_proxy
from tests.support.nats import NatsServer, running_nats
from tests.support.postgres import PostgresCluster, running_postgres
from tests.support.processes import ServerProcess
from tests.support.receiver import receiving
from tests.support.waiting import eventually

pytestmark = [pytest.mark.chaos, pytest.mark.slow, pytest.mark.timeout(0 if MINUTES else 600)]

NODES = 3
ROUNDS = 20
FEW_ROUNDS = 4
"""In CI: one of each of the first kinds."""
PAST_ITS_LEASE_S = LEASE_S * 1.5
LEASE_OF_TASKS = timedelta(seconds=4 * LEASE_S)
"""As many times a node's as by default: a heartbeat may hang at a node that is cut off, and then at another one."""
WITHIN_S = 120


@dataclass
class Strikes:
    """Failures of one thing at a time, while the others go on."""

    balancer: Balancer
    nodes: list[ServerProcess]
    networks: list[CuttingProxy]
    postgres: PostgresCluster
    nats: NatsServer | None
    random: Random
    counts: Counter[str] = field(default_factory=Counter[str])

    async def __call__(self, number: int) -> None:
        """Strike each kind in turn at first, then at random; return when all nodes are ready again."""
        kinds = self.kinds()
        names = list(kinds)
        name = names[number] if number < len(names) else self.random.choice(names)
        await kinds[name]()
        self.counts[name] += 1
        await self.balancer.await_ready(len(self.nodes))

    def kinds(self) -> Mapping[str, Callable[[], Awaitable[None]]]:
        """What can fail, by its name."""
        kinds = {
            "stop a node past its lease": self._pause,
            "cut a node off": self._cut_off,
            "kill a node": self._kill,
            "kill the database": self._kill_database,
            "restart a node": self._restart,
            "cut all clients off": self.balancer.close,
            "stop the database": self._pause_database,
        }
        if self.nats is not None:
            kinds |= {"kill the bus": self._kill_bus, "stop the bus": self._pause_bus}
        return kinds

    async def _kill(self) -> None:
        node = self.random.choice(self.nodes)
        await asyncio.to_thread(node.kill)
        if self.random.random() < 0.5:
            await _pass(PAST_ITS_LEASE_S)
        await asyncio.to_thread(node.start, within=WITHIN_S)

    async def _restart(self) -> None:
        node = self.random.choice(self.nodes)
        assert await asyncio.to_thread(node.stop) == 0
        await asyncio.to_thread(node.start, within=WITHIN_S)

    async def _pause(self) -> None:
        pid = self.random.choice(self.nodes).pid
        os.kill(pid, signal.SIGSTOP)
        try:
            await _pass(PAST_ITS_LEASE_S)
        finally:
            os.kill(pid, signal.SIGCONT)

    async def _cut_off(self) -> None:
        """Lose the network between a node and the database, without a word to either, past the lease."""
        network = self.random.choice(self.networks)
        network.admitting = False
        network.fall_silent()
        await _pass(PAST_ITS_LEASE_S)
        network.admitting = True

    async def _kill_database(self) -> None:
        await asyncio.to_thread(self.postgres.kill)
        await asyncio.to_thread(self.postgres.start)

    async def _pause_database(self) -> None:
        self.postgres.pause()
        try:
            await _pass(PAST_ITS_LEASE_S)
        finally:
            self.postgres.resume()

    async def _kill_bus(self) -> None:
        assert self.nats is not None
        self.nats.kill()
        await _pass(PAST_ITS_LEASE_S)
        await asyncio.to_thread(self.nats.start)

    async def _pause_bus(self) -> None:
        assert self.nats is not None
        self.nats.pause()
        await _pass(PAST_ITS_LEASE_S)
        self.nats.resume()


@dataclass(frozen=True, slots=True)
class Ground:
    """What the nodes of all seasons stand on."""

    postgres: PostgresCluster
    nats: NatsServer | None
    histories: Path
    """Where the history of a season is kept in which something went wrong."""


async def season(cluster: Cluster, ground: Ground, number: int) -> list[str]:
    """Load on three nodes from their start to their stop; returns what was lost, doubled or out of order."""
    seed, history = SEED + number, History()
    async with AsyncExitStack() as stack:
        url = ground.postgres.create_database()
        stack.callback(ground.postgres.drop_database, url)
        receiver = await stack.enter_async_context(receiving())
        cluster.settings["SWARMHOLD_WEBHOOKS__ALLOW"] = f"http://127.0.0.1:{receiver.port}/"
        cluster.nodes.clear()
        networks: list[CuttingProxy] = []
        for _ in range(NODES):
            network, through = stack.enter_context(cutting_proxy(url))
            networks.append(network)
            cluster.settings["SWARMHOLD_DATABASE_URL"] = through
            cluster.start()
        balancer = await stack.enter_async_context(balancing(cluster.nodes))
        strikes = Strikes(balancer, cluster.nodes, networks, ground.postgres, ground.nats, Random(seed))
        rounds = ROUNDS if MINUTES else FEW_ROUNDS
        ledger, wrong = await survive(
            balancer, strikes, rounds=rounds, seed=seed, receiver=receiver, history=history, lease=LEASE_OF_TASKS
        )
        for node in cluster.nodes:
            assert await asyncio.to_thread(node.stop) == 0
    sys.stdout.write(
        f"season {number}: {len(history.calls)} calls, {len(ledger.tasks)} lives, {ledger.acknowledged} replies, "
        f"{len(receiver.bodies)} deliveries, {dict(strikes.counts)}, {ledger.excused} lives given up\n"
    )
    sys.stdout.flush()
    if wrong:
        history.write(ground.histories / f"history-{seed}.jsonl")
    assert len(set(ledger.tasks.values())) > 5, "too little happened to mean anything"
    return wrong


async def test_nothing_is_lost_or_doubled_by_a_cluster(cluster: Cluster, tmp_path: Path) -> None:
    """Answers, Finals, claims, outputs and events are there once, and no reader sees time go back."""
    cluster.settings |= {
        "SWARMHOLD_SPAWN__PROGRAMS": PROGRAMS,
        "SWARMHOLD_WEBHOOKS__BACKOFF": "0.05",
        "SWARMHOLD_WEBHOOKS__MAX_BACKOFF": "1",
        "SWARMHOLD_DATABASE_KEEPALIVE_TIMEOUT": "6",
        "SWARMHOLD_CLUSTER__DRAIN": "1",
    }
    end = time.monotonic() + MINUTES * 60
    with ExitStack() as stack:
        postgres, nats = stack.enter_context(running_postgres(durable=True)), None
        if os.environ.get("CHAOS_BUS") == "nats":
            nats = stack.enter_context(running_nats())
            cluster.settings["SWARMHOLD_BUS_URL"] = nats.url
        for number in itertools.count():
            assert await season(cluster, Ground(postgres, nats, tmp_path), number) == []
            if time.monotonic() >= end:
                return


async def _pass(seconds: float) -> None:
    """Let time pass, which is what the failure consists of."""
    end = time.monotonic() + seconds
    await eventually(lambda: time.monotonic() >= end, within=seconds + 60)
