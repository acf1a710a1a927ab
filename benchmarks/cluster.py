"""A cluster on PostgreSQL with durable commits: three nodes compared with one, all processes on the same cores.

Every client sends each request to the next node. What a node adds where cores are free follows from the CPU that a life
takes at the nodes and at PostgreSQL, which is measured too.
"""

from __future__ import annotations

import asyncio
import json
import os
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from itertools import cycle
from statistics import median

import psycopg

from benchmarks import lives, servers
from benchmarks.load import Reply, connect, request, run_async
from benchmarks.report import Row
from benchmarks.swarm import DISPATCH, TASK, attach, decoded, handles
from tests.support.pids import children
from tests.support.postgres import PostgresCluster, running_postgres

NODES = 3
CALLS = int(os.environ.get("BENCH_CALLS", "1500"))
"""Calls of each kind, and lives of each round."""
ROUNDS = 3
CONNECTIONS = 64
ANSWERS = 300
LOAD_CLIENTS = 16
DRIVEN = 50
ROOT_KEY = "shk_" + "benchmark" * 5
PROGRAMS = json.dumps({"sleeper": {"path": "/bin/sleep", "arguments": ["600"]}})
QUESTION = b'{"question": "May I?"}'
ANSWER = b'{"value": "yes"}'
_WRITTEN = "SELECT pg_current_wal_insert_lsn() - '0/0', pg_database_size(current_database())"


@dataclass(frozen=True, slots=True)
class Cluster:
    """Nodes on one database, and an operator and a senior of them."""

    nodes: Sequence[servers.Server]
    operator: str
    senior: str
    postgres: PostgresCluster | None = None
    database_url: str = ""

    @property
    def urls(self) -> list[str]:
        """Return where the nodes are reached."""
        return [node.url for node in self.nodes]

    def used(self) -> list[float]:
        """Return the CPU time of the nodes and of PostgreSQL, and the bytes of its log and of the database."""
        own = sum(node.cpu_seconds() for node in self.nodes)
        if self.postgres is None:
            return [own, 0.0, 0.0, 0.0]
        pids = [self.postgres.pid, *children(self.postgres.pid)]
        with psycopg.connect(self.database_url) as database:
            [written] = database.execute(_WRITTEN)
        return [own, sum(servers.cpu_seconds(pid) for pid in pids), *map(float, written)]


@contextmanager
def _nodes(count: int, postgres: PostgresCluster | None = None) -> Iterator[Cluster]:
    """Run nodes on a database of their own, in PostgreSQL or, one alone, in a file."""
    url = "" if postgres is None else postgres.create_database()
    env = {"SWARMHOLD_ROOT_KEY": ROOT_KEY, "SWARMHOLD_SPAWN__PROGRAMS": PROGRAMS}
    env |= {"SWARMHOLD_DATABASE_URL": url} if url else {}
    with ExitStack() as stack:
        nodes = [stack.enter_context(servers.swarmhold(None, servers.CORES, **env)) for _ in range(count)]
        operator, senior = (asyncio.run(attach(nodes[0].url, ROOT_KEY, role)) for role in ("operator", "senior"))
        yield Cluster(nodes, operator, senior, postgres, url)


# By kind of call


async def _stage(cluster: Cluster, requests: Iterable[bytes], expected: int) -> tuple[float, list[Reply]]:
    """Send requests over connections that are spread over the nodes; return replies per second, and the replies."""
    urls, left, replies = cycle(cluster.urls), iter(requests), list[Reply]()
    lines = [await connect(next(urls)) for _ in range(CONNECTIONS)]
    begin = time.perf_counter()

    async def send_all(number: int) -> None:
        for data in left:
            reply = await lines[number].send(data)
            if reply[0] == 503:  # a row that stayed in use: clients send it again
                reply = await lines[number].send(data)
            if reply[0] != expected:
                raise RuntimeError(f"expected {expected}: {reply}")
            replies.append(reply)

    await asyncio.gather(*map(send_all, range(CONNECTIONS)))
    rate = len(replies) / (time.perf_counter() - begin)
    for line in lines:
        line.close()
    return rate, replies


async def _by_kind(cluster: Cluster) -> dict[str, float]:
    """Return calls per second by kind: the steps of tasks whose workers ask a question, one kind after another."""
    token, worker, found = cluster.operator, "/v1/worker", dict[str, float]()
    found["create"], made = await _stage(cluster, CALLS * [request("POST", "/v1/operator/tasks", token, TASK)], 201)
    paths = [f"/v1/operator/tasks/{decoded(reply)['id']}" for reply in made]
    dispatches = [request("POST", f"{path}/dispatch", token, DISPATCH) for path in paths]
    found["dispatch"], started = await _stage(cluster, dispatches, 202)
    holders = [str(decoded(reply)["worker_handle"]) for reply in started]
    prompts = [request("GET", f"{worker}/prompt", handle) for handle in holders]
    found["prompt"], _ = await _stage(cluster, prompts, 200)
    asks = [request("POST", f"{worker}/questions", handle, QUESTION) for handle in holders]
    found["ask"], asked = await _stage(cluster, asks, 201)
    keys = [decoded(reply)["key"] for reply in asked]
    answers = [request("POST", f"/v1/senior/questions/{key}/answer", cluster.senior, ANSWER) for key in keys]
    found["answer"], _ = await _stage(cluster, answers, 200)
    submits = [request("POST", f"{worker}/submit", handle, b"done", "text/plain") for handle in holders]
    found["submit"], _ = await _stage(cluster, submits, 204)
    found["poll"], _ = await _stage(cluster, [request("GET", f"{path}/poll?hold=0", token) for path in paths], 200)
    return found


# Lives, and what wakes across nodes


@dataclass(frozen=True, slots=True)
class Lived:
    """Lives per second, and what one uses: CPU of the nodes and of PostgreSQL, bytes of its log and of the database."""

    rate: float
    node_s: float
    postgres_s: float
    log_bytes: float
    stored_bytes: float

    def __str__(self) -> str:
        shown = f"{self.rate:,.0f}/s, CPU {1000 * self.node_s:.2f} ms"
        if not self.postgres_s:
            return shown
        written = f"{self.log_bytes:,.0f} bytes of log, {self.stored_bytes:,.0f} stored"
        return f"{shown} + PostgreSQL {1000 * self.postgres_s:.2f} ms, {written}"


async def _lived(cluster: Cluster) -> Lived:
    before, begin = cluster.used(), time.perf_counter()
    await lives.many(cluster.urls, cluster.operator, CALLS)
    rate = CALLS / (time.perf_counter() - begin)
    used = (later - earlier for earlier, later in zip(before, cluster.used(), strict=True))
    return Lived(rate, *(one / CALLS for one in used))


def _compare(one: Cluster, three: Cluster) -> tuple[Lived, Lived]:
    """Return the rounds of median rate of both, which alternate."""
    found = [(asyncio.run(_lived(one)), asyncio.run(_lived(three))) for _ in range(ROUNDS)]
    of_one, of_three = (sorted(side, key=lambda lived: lived.rate)[ROUNDS // 2] for side in zip(*found, strict=True))
    return of_one, of_three


async def _answered_elsewhere(cluster: Cluster, rate: float) -> list[float]:
    """Return the milliseconds from sending an answer to the reply of a parked wait on another node, sorted.

    Meanwhile `rate` lives a second go on, spread over the nodes.
    """
    took: list[float] = []
    asked = await handles(cluster.urls[0], cluster.operator, ANSWERS)
    loading = [asyncio.create_task(_load(cluster, rate / LOAD_CLIENTS)) for _ in range(LOAD_CLIENTS)]
    lines = [(await connect(url), await connect(url)) for url in cluster.urls]
    for number, (_, handle) in enumerate(asked):
        waiter, answerer = lines[number % len(lines)][0], lines[(number + 1) % len(lines)][1]
        key = decoded(await waiter.send(request("POST", "/v1/worker/questions", handle, QUESTION)))["key"]
        parked = waiter.send(request("GET", f"/v1/worker/questions/{key}?hold=30", handle))
        await asyncio.sleep(0.02)
        begin = time.perf_counter()
        sent = answerer.send(request("POST", f"/v1/senior/questions/{key}/answer", cluster.senior, ANSWER))
        status, _ = await parked
        took.append(1000 * (time.perf_counter() - begin))
        if (status, (await sent)[0]) != (200, 200):
            raise RuntimeError("an answer did not arrive")
    for task in loading:
        task.cancel()
    for outcome in await asyncio.gather(*loading, return_exceptions=True):
        if isinstance(outcome, Exception):
            raise outcome
    return sorted(took)


async def _load(cluster: Cluster, rate: float) -> None:
    """Live `rate` lives a second until cancelled."""
    turns = cycle([await connect(url) for url in cluster.urls])
    due = time.perf_counter()
    while True:
        due += 1 / rate
        await lives.one(turns, cluster.operator)
        await asyncio.sleep(max(0.0, due - time.perf_counter()))


# Takeover


async def _drive(cluster: Cluster, url: str) -> None:
    """Start processes on one node, which drives their attempts, and which retries may repeat."""
    line = await connect(url)
    spec = json.dumps({"agent": "a", "initial_directive": "d", "retry": {"max_attempts": 9, "on": ["lost"]}}).encode()
    dispatch = json.dumps({"spawner": {"kind": "process", "program": "sleeper"}}).encode()
    for _ in range(DRIVEN):
        made = await line.send(request("POST", "/v1/operator/tasks", cluster.operator, spec))
        path = f"/v1/operator/tasks/{decoded(made)['id']}/dispatch"
        status, reply = await line.send(request("POST", path, cluster.operator, dispatch))
        if status != 202:
            raise RuntimeError(f"dispatch: {status} {reply[:200]!r}")
    line.close()


def _taken_over(cluster: Cluster) -> tuple[float, float]:
    """Kill a node that drives attempts; return the seconds from its last heartbeat, and its end, until others do."""
    victim = cluster.nodes[-1]
    asyncio.run(_drive(cluster, victim.url))
    with psycopg.connect(cluster.database_url, autocommit=True) as database:
        [(owner,)] = database.execute("SELECT DISTINCT owner FROM attempts WHERE phase <> 'ended' AND detached = 0")
        victim.kill()
        killed = time.perf_counter()
        [(seen_at,)] = database.execute("SELECT seen_at FROM nodes WHERE id = %s", (owner,))
        left = "SELECT count(*) FROM attempts WHERE owner = %s AND phase <> 'ended'"
        while database.execute(left, (owner,)).fetchall() != [(0,)]:
            time.sleep(0.02)
        [(now,)] = database.execute("SELECT (extract(epoch FROM clock_timestamp()) * 1000)::bigint")
    return (now - seen_at) / 1000, time.perf_counter() - killed


def main() -> list[Row]:
    """Run the benchmark on all cores, since nodes, PostgreSQL and clients share them."""
    former = servers.unpin()
    try:
        return _measure()
    finally:
        servers.pin(former)


def _measure() -> list[Row]:
    with _nodes(1) as alone:
        kinds = {"SQLite": run_async(lambda: _by_kind(alone))}
        on_file = max((asyncio.run(_lived(alone)) for _ in range(ROUNDS)), key=lambda lived: lived.rate)
    with running_postgres(durable=True) as postgres, _nodes(1, postgres) as one, _nodes(NODES, postgres) as three:
        kinds["one node"] = run_async(lambda: _by_kind(one))
        kinds["three nodes"] = run_async(lambda: _by_kind(three))
        of_one, of_three = _compare(one, three)
        took = run_async(lambda: _answered_elsewhere(three, of_three.rate / 2))
        taken_over = _taken_over(three)
    rows = [
        Row(
            f"{kind}, {CONNECTIONS} connections",
            f"three nodes {kinds['three nodes'][kind]:,.0f}/s",
            f"one node {kinds['one node'][kind]:,.0f}/s, SQLite {kinds['SQLite'][kind]:,.0f}/s",
            "",
        )
        for kind in kinds["SQLite"]
    ]
    ratio = of_three.rate / of_one.rate
    p50, p99 = median(took), took[int(0.99 * len(took))]
    return [
        *rows,
        Row("whole lives on SQLite, all cores", str(on_file), "", ""),
        Row("whole lives with three nodes", str(of_three), f"one node {of_one}", f"≥ 0.9 of one node: {ratio:.2f}"),
        Row(
            "answer → parked wait on another node, at half load",
            f"p50 {p50:.1f} ms, p99 {p99:.1f} ms",
            f"beside {of_three.rate / 2:,.0f} lives/s",
            "p99 < 100 ms",
        ),
        Row(
            f"{DRIVEN} attempts of a killed node taken over",
            f"{taken_over[0]:.1f} s after its last heartbeat",
            f"{taken_over[1]:.1f} s after its end",
            "< 20 s",
        ),
    ]
