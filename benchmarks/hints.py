"""Hints between nodes: how soon one arrives at another process, and what many cost there and at the server between.

The other process answers each `ping` by a `pong`: a hint's way takes half of that, and no clocks are compared.
"""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from statistics import median

from app.bus.nats import NatsLink
from app.bus.postgres import PostgresLink
from app.bus.shared import SharedBus
from benchmarks.report import Row
from tests.support.nats import running_nats
from tests.support.pids import children
from tests.support.postgres import running_postgres

PINGS = 300
LOAD_S = 5.0
RATES = (1_000, 10_000)
"""Hints a second, as of so many waiters of other nodes; each has a topic of its own."""
PER_COMMIT = 3


@dataclass(frozen=True, slots=True)
class Place:
    """Where hints go by: its URL, and the processes of its server."""

    name: str
    url: str
    pids: Callable[[], list[int]]

    def cpu_s(self) -> float:
        """Return the CPU time that the server's processes have used."""
        return sum(_cpu_s(pid) for pid in self.pids())


def _bus(url: str) -> SharedBus:
    return SharedBus(NatsLink(url) if url.startswith("nats:") else PostgresLink(url, {}))


def _cpu_s(pid: int) -> float:
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return 0.0
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


@contextmanager
def _places() -> Iterator[list[Place]]:
    with running_postgres(durable=True) as cluster, running_nats() as nats:
        postmaster = cluster.pid
        yield [
            Place("NOTIFY", cluster.url(), lambda: [postmaster, *children(postmaster)]),
            Place("NATS", nats.url, lambda: [nats.pid]),
        ]


async def _answer(url: str) -> None:
    """Answer every ping until the process is ended."""
    bus = _bus(url)
    await bus.open()
    subscription = bus.subscribe("ping")
    while True:
        if await subscription.wait(None):
            subscription.clear()
            bus.publish(["pong"])


async def _ping(bus: SharedBus, count: int, pause_s: float) -> list[float]:
    """Return the milliseconds of one way, sorted."""
    took: list[float] = []
    subscription = bus.subscribe("pong")
    while len(took) < count:
        await asyncio.sleep(pause_s)
        subscription.clear()
        begin = time.perf_counter()
        bus.publish(["ping"])
        if await subscription.wait(5):
            took.append(500 * (time.perf_counter() - begin))
    return sorted(took)


async def _publish(bus: SharedBus, rate: int) -> None:
    """Publish this many hints a second until cancelled, a few at a time as commits do."""
    begin, count = time.perf_counter(), 0
    while True:
        while count < rate * (time.perf_counter() - begin):
            bus.publish([f"attempt:T-{count + one:026}" for one in range(PER_COMMIT)])
            count += PER_COMMIT
        await asyncio.sleep(0.001)


async def _measure(place: Place, peer: int) -> list[Row]:
    bus = _bus(place.url)
    await bus.open()
    try:
        await _ping(bus, 1, 0.01)
        idle = f"one at a time: {_delays(await _ping(bus, PINGS, 0.01))}"
        rows = [Row(f"a hint to another node by {place.name}", idle, "", "p99 < 100 ms")]
        return rows + [await _under_load(place, bus, peer, rate) for rate in RATES]
    finally:
        await bus.close()


async def _under_load(place: Place, bus: SharedBus, peer: int, rate: int) -> Row:
    publishing = asyncio.create_task(_publish(bus, rate))
    before = place.cpu_s(), time.process_time(), _cpu_s(peer), bus.counts.sent, time.perf_counter()
    delays = _delays(await _ping(bus, round(LOAD_S / 0.02), 0.015))
    seconds = time.perf_counter() - before[4]
    used = place.cpu_s() - before[0], time.process_time() - before[1], _cpu_s(peer) - before[2]
    sent = (bus.counts.sent - before[3]) / seconds
    publishing.cancel()
    server, own, other = (f"{100 * one / seconds:.0f} %" for one in used)
    cost = f"{place.name} server {server} of a core, sender {own}, receiver {other}"
    return Row(f"the same beside {rate:,} hints/s", f"{delays}; {sent:,.0f} hints/s sent", cost, "p99 < 100 ms")


def _delays(took: list[float]) -> str:
    return f"p50 {median(took):.1f} ms, p99 {took[int(0.99 * len(took))]:.1f} ms"


def _beside_a_peer(place: Place) -> list[Row]:
    peer = subprocess.Popen([sys.executable, "-m", "benchmarks.hints", place.url])
    try:
        return asyncio.run(_measure(place, peer.pid))
    finally:
        peer.terminate()
        peer.wait(30)


def main() -> list[Row]:
    """Measure both ways for hints."""
    with _places() as places:
        return [row for place in places for row in _beside_a_peer(place)]


if __name__ == "__main__":
    asyncio.run(_answer(sys.argv[1]))
