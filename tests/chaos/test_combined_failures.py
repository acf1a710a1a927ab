"""A real node whose log nobody reads is stopped, killed and left without room on its disk, all of it under load.

`make chaos` runs it for `CHAOS_MINUTES` on each database; `make test` leaves it out, as it takes minutes.
"""

import asyncio
import itertools
import os
import shutil
import signal
import sys
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from random import Random

import pytest

from tests.chaos.ledger import MINUTES, Ledger
from tests.chaos.lives import LEASE, PROGRAMS
from tests.chaos.probe import Probe
from tests.chaos.survival import SEED, diagnose, survive
from tests.support.disks import SmallDisk, small_disk
from tests.support.pipes import full_pipe
from tests.support.postgres import PostgresCluster, PostgresFailedError, running_postgres
from tests.support.processes import ServerFailedError, ServerProcess
from tests.support.receiver import Receiver, receiving
from tests.support.waiting import DeadlinePassedError, eventually

pytestmark = [
    pytest.mark.chaos,
    pytest.mark.slow,
    pytest.mark.timeout(0),
    pytest.mark.skipif(not MINUTES, reason="it takes minutes: `make chaos` runs it"),
]

STRIKES = 16
"""In one season, after which a new node begins with an empty database."""
REFUSALS = 5
START_S = 180
"""How long a start may take on a machine that does much else."""
FULL_START_S = 15
"""How long a server may try to start on a full disk, which need not succeed."""
LEASE_S = LEASE.total_seconds()
FILE_DISK = 64 * 1024**2
POSTGRES_DISK = 512 * 1024**2
NO_DISK = "everything else passed, but only root may mount the small disk that would have filled"


@dataclass
class Strikes:
    """The failures of one node, in an order that a seed decides."""

    node: ServerProcess
    ledger: Ledger
    probe: Probe
    random: Random
    disk: SmallDisk | None
    cluster: PostgresCluster | None = None
    counts: Counter[str] = field(default_factory=Counter[str])

    async def __call__(self, number: int) -> None:
        """Strike, and wait until the node takes work again: each kind in turn at first, then at random."""
        kinds = self._kinds()
        names = list(kinds)
        name = names[number] if number < len(names) else self.random.choice(names)
        await kinds[name]()
        if self.cluster is not None and not self.cluster.running:
            await eventually(self._cluster_starts)
        await self.probe.works_again()
        self.counts[name] += 1

    def _kinds(self) -> Mapping[str, Callable[[], Awaitable[None]]]:
        kinds = {"stop": self._stop}
        if self.disk is not None:
            kinds["fill"] = self._fill
        if self.cluster is None:
            kinds["kill"] = self._kill
        else:
            kinds |= {"database kill": self._kill_database, "database stop": self._stop_database, "kill": self._kill}
        kinds |= {"restart": self._restart, "kill stopped": self._kill_stopped}
        if self.disk is not None and self.cluster is None:
            kinds["start full"] = self._start_on_a_full_disk
        return kinds

    async def _stop(self) -> None:
        """Stop the process: for longer than a lease the first time, then at random."""
        await self._stand_still(self.node.pid, 1.5 if not self.counts["stop"] else self.random.uniform(0.1, 3))

    async def _stand_still(self, pid: int, leases: float) -> None:
        os.kill(pid, signal.SIGSTOP)
        try:
            await _pass(leases * LEASE_S)
        finally:
            os.kill(pid, signal.SIGCONT)

    async def _kill(self) -> None:
        await asyncio.to_thread(self.node.restart, within=START_S)

    async def _kill_stopped(self) -> None:
        os.kill(self.node.pid, signal.SIGSTOP)
        await _pass(self.random.uniform(0.1, 0.5) * LEASE_S)
        await asyncio.to_thread(self.node.restart, within=START_S)

    async def _restart(self) -> None:
        """End the node in good order, in spite of its log, and start it again."""
        assert await asyncio.to_thread(self.node.stop) == 0
        await asyncio.to_thread(self.node.start, within=START_S)

    async def _fill(self) -> None:
        """Leave no room on the database's disk until work was refused often enough."""
        assert self.disk is not None
        self.disk.fill()
        try:
            await self.probe.refusals(REFUSALS)
        finally:
            self.disk.empty()

    async def _start_on_a_full_disk(self) -> None:
        """End the node on a full disk, and start it there, which may fail; it starts when there is room."""
        assert self.disk is not None
        self.disk.fill()
        try:
            await self.probe.refusals(1)
            if self.random.random() < 0.5:
                assert await asyncio.to_thread(self.node.stop) == 0
            await asyncio.to_thread(self.node.kill)
            self.disk.fill()
            await asyncio.to_thread(_try_to_start, self.node)
        finally:
            self.disk.empty()
        if not self.node.running:
            await asyncio.to_thread(self.node.start, within=START_S)

    async def _stop_database(self) -> None:
        """Bring PostgreSQL to a halt for longer than a lease."""
        assert self.cluster is not None
        await asyncio.to_thread(self.cluster.pause)
        try:
            await _pass(self.random.uniform(1, 2.5) * LEASE_S)
        finally:
            await asyncio.to_thread(self.cluster.resume)

    async def _kill_database(self) -> None:
        """Kill PostgreSQL and start it again after longer than a lease."""
        assert self.cluster is not None
        await asyncio.to_thread(self.cluster.kill)
        await _pass(self.random.uniform(1, 2) * LEASE_S)

    async def _cluster_starts(self) -> bool:
        assert self.cluster is not None
        try:
            await asyncio.to_thread(self.cluster.start)
        except PostgresFailedError:
            return False
        return True


def _try_to_start(node: ServerProcess) -> None:
    try:
        node.start(within=FULL_START_S)
    except (ServerFailedError, DeadlinePassedError):
        assert not node.running


async def _pass(seconds: float) -> None:
    """Let time pass, which is what the failure consists of."""
    end = time.monotonic() + seconds
    await eventually(lambda: time.monotonic() >= end, within=seconds + 60)


@pytest.fixture
def file_disk() -> Iterator[SmallDisk | None]:
    """A disk for a database file."""
    with small_disk(FILE_DISK) as disk:
        yield disk


@pytest.fixture
def postgres_disk() -> Iterator[SmallDisk | None]:
    """A disk for a PostgreSQL server."""
    with small_disk(POSTGRES_DISK) as disk:
        yield disk


@pytest.fixture
def cluster(postgres_disk: SmallDisk | None) -> Iterator[PostgresCluster]:
    """A PostgreSQL server on it."""
    with running_postgres(durable=True, parent=None if postgres_disk is None else postgres_disk.path) as made:
        yield made


def _settings(receiver: Receiver) -> dict[str, str]:
    return {
        "SWARMHOLD_SPAWN__PROGRAMS": PROGRAMS,
        "SWARMHOLD_WEBHOOKS__ALLOW": f"http://127.0.0.1:{receiver.port}/",
        "SWARMHOLD_WEBHOOKS__BACKOFF": "0.05",
        "SWARMHOLD_WEBHOOKS__MAX_BACKOFF": "1",
        # A stream finds out by its comments that its client has closed the connection.
        "SWARMHOLD_HTTP__SSE_COMMENT_EVERY": "1",
        "SWARMHOLD_LOG_LEVEL": "debug",
        "SWARMHOLD_HTTP__ACCESS_LOG": "yes",
    }


async def _season(
    number: int, place: Path, log: Path, disk: SmallDisk | None, cluster: PostgresCluster | None
) -> list[str]:
    """One node with an empty database from its start to its stop; returns what it has lost or doubled."""
    seed, ledger = SEED + number, Ledger()
    with full_pipe() as pipe:
        async with receiving() as receiver:
            url = {} if cluster is None else {"SWARMHOLD_DATABASE_URL": cluster.create_database()}
            settings = _settings(receiver) | url
            node = ServerProcess(place / f"node-{number}", settings=settings, output=pipe, log_file=log)
            try:
                await asyncio.to_thread(node.start, within=START_S)
                async with Probe(node, ledger) as probe:
                    strikes = Strikes(node, ledger, probe, Random(seed), disk, cluster)
                    _, wrong = await survive(node, strikes, rounds=STRIKES, seed=seed, receiver=receiver, ledger=ledger)
                    await probe.settles("swarmhold_http_parked")
                findings = await asyncio.to_thread(diagnose, node)
                assert await asyncio.to_thread(node.stop) == 0
            finally:
                node.kill()
    sys.stdout.write(
        f"season {number}: {len(ledger.tasks)} lives, {ledger.acknowledged} replies, {probe.refused} refused, "
        f"{len(receiver.bodies)} deliveries, {dict(strikes.counts)}, {len(ledger.stalls)} stalls of the clients, "
        f"{ledger.excused} lives given up\n"
    )
    sys.stdout.flush()
    assert len(set(ledger.tasks.values())) > 5, "too little happened to mean anything"
    # The disk is as small as the test has made it.
    return [*wrong, *(str(finding) for finding in findings if finding["about"] != "disk")]


async def _seasons(folder: Path, disk: SmallDisk | None, cluster: PostgresCluster | None) -> None:
    """Season after season, until the minutes are over."""
    end = time.monotonic() + MINUTES * 60
    place = folder if disk is None or cluster is not None else disk.path
    for number in itertools.count():
        wrong = await _season(number, place, folder / "log", disk, cluster)
        assert not wrong, "\n".join((f"season {number}:", *wrong))
        await asyncio.to_thread(shutil.rmtree, place / f"node-{number}")
        if time.monotonic() >= end:
            return


async def test_a_file_survives_all_of_it(tmp_path: Path, file_disk: SmallDisk | None) -> None:
    """On a file, on a disk that fills: every life ends, and the books agree with every reply."""
    await _seasons(tmp_path, file_disk, None)
    if file_disk is None:
        pytest.skip(NO_DISK)


async def test_postgres_survives_all_of_it(
    tmp_path: Path, postgres_disk: SmallDisk | None, cluster: PostgresCluster
) -> None:
    """Over PostgreSQL, whose disk fills, and which stops and dies itself."""
    await _seasons(tmp_path, postgres_disk, cluster)
    if postgres_disk is None:
        pytest.skip(NO_DISK)
