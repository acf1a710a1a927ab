"""The cost of a large database: hot requests compared with an empty one, and the time to start."""

from __future__ import annotations

import os
import tempfile
import time
from collections.abc import Iterable
from pathlib import Path
from statistics import median
from typing import Any

import apsw

from benchmarks import servers
from benchmarks.load import Connection, connect, drive, request, run_async
from benchmarks.report import Row
from benchmarks.servers import Server
from benchmarks.swarm import DISPATCH, TASK, attach, decoded, start

FINISHED = int(os.environ.get("BENCH_FINISHED", "200000"))
"""Finished tasks in the large database, with ten events each; the goal is stated for 1000000."""
LIVE = 100_000
QUESTIONS = 100_000
CALLS = 2_000
ROUNDS = 3
CONNECTIONS = 64


async def _life(line: Connection, token: str) -> str:
    """Create a task that passed, with ten events, and return its id."""
    task_id, handle = await start(line, token)
    for step in range(5):
        body = b'{"type": "progress", "stage": "step %d"}' % step
        await line.send(request("POST", "/v1/worker/output", handle, body))
    await line.send(request("POST", "/v1/worker/submit", handle, b"done", "text/plain"))
    return task_id


async def _question(line: Connection, token: str) -> str:
    """Create a task with an open question and return its id."""
    task_id, handle = await start(line, token)
    await line.send(request("POST", "/v1/worker/questions", handle, b'{"question": "May I?"}'))
    return task_id


async def _start_one(line: Connection, token: str) -> str:
    """Create a task with a live attempt and return its id."""
    return (await start(line, token))[0]


class Copies:
    """Writes copies of a task into the database of a stopped server, with ids that sort before all others."""

    def __init__(self, path: Path, *, series: str) -> None:
        self._db = apsw.Connection(str(path))
        self._db.pragma("synchronous", "OFF")
        self._series = series

    def make(self, task_id: str, count: int) -> None:
        """Insert `count` copies of the task with all rows that belong to it."""
        with self._db:
            for table, fresh in _OWN.items():
                columns = [str(row[1]) for row in self._db.execute(f"PRAGMA table_info({table})")]
                kept = [name for name in columns if name != "cursor"]
                values = [self._value(fresh.get(name), name) for name in kept]
                owner = "id" if table == "tasks" else "task_id"
                sql = (
                    f"{_SERIES} INSERT INTO {table} ({_names(kept)}) SELECT {', '.join(values)} "  # noqa: S608 - our own names
                    f"FROM copies, {table} AS row WHERE row.{owner} = ?"
                )
                self._db.execute(sql, (count, task_id))
            self._db.execute(_INDEXED)
        self._db.close()

    def _value(self, fresh: str | None, name: str) -> str:
        if fresh is None:
            return f'row."{name}"'
        if fresh == "handle":
            return "substr(row.digest, 1, 3) || substr('000000' || n, -7) || lower(hex(randomblob(32)))"
        return f"'{fresh}-{self._series}' || substr('0000000000000000000000000' || n, -25)"


_SERIES = "WITH RECURSIVE copies(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM copies WHERE n < ?)"

_INDEXED = """UPDATE meta SET value = '{"cursor":' || (SELECT max(cursor) FROM events) || ',"before":null}'
WHERE name = 'indexed'"""
"""The copies count as searched for words already: the server would index them while it is measured."""

_OWN = {
    "tasks": {"id": "T"},
    "attempts": {"task_id": "T", "jti": "W"},
    "handles": {"digest": "handle", "task_id": "T"},
    "outputs": {"task_id": "T"},
    "questions": {"key": "R", "task_id": "T"},
    "events": {"task_id": "T"},
}
"""The tables with rows of a task, and the columns in which copies differ."""


def _names(columns: Iterable[str]) -> str:
    return ", ".join(f'"{name}"' for name in columns)


async def _made(folder: str, life: Any) -> str:
    """Start a server on an empty directory, create one task by `life`, stop the server and return the task's id."""
    with servers.swarmhold(folder) as real:
        return str(await life(await connect(real.url), await attach(real.url, real.root_key)))


async def _calls(server: Server, token: str) -> dict[str, float]:
    """Return the replies per second of each hot request."""
    url = server.url
    tasks: list[str] = []
    handles: list[str] = []
    line = await connect(url)
    while len(tasks) < CALLS:
        reply = await line.send(request("POST", "/v1/operator/tasks", token, TASK))
        tasks.append(decoded(reply)["id"])
    for task_id in tasks[: CALLS // 2]:
        reply = await line.send(request("POST", f"/v1/operator/tasks/{task_id}/dispatch", token, DISPATCH))
        handles.append(decoded(reply)["worker_handle"])
    line.close()
    rest = tasks[CALLS // 2 :]
    calls = {
        "create": ([request("POST", "/v1/operator/tasks", token, TASK)] * CALLS, 201),
        "dispatch": ([request("POST", f"/v1/operator/tasks/{t}/dispatch", token, DISPATCH) for t in rest], 202),
        "prompt": ([request("GET", "/v1/worker/prompt", handle) for handle in handles], 200),
        "submit": ([request("POST", "/v1/worker/submit", handle, b"ok", "text/plain") for handle in handles], 204),
        "poll": ([request("GET", f"/v1/operator/tasks/{t}/poll?hold=0", token) for t in tasks], 200),
        "page of tasks": ([request("GET", "/v1/operator/tasks?status=pass&limit=20", token)] * 200, 200),
        "inbox": ([request("GET", "/v1/operator/tasks?status=suspended&limit=20", token)] * 200, 200),
    }
    rates: dict[str, float] = {}
    for name, (requests, expect) in calls.items():
        run = await drive(url, iter(requests), connections=CONNECTIONS, expect=expect, seconds=60)
        if set(run.wrong) - {202}:
            raise RuntimeError(f"{name}: {run.wrong}")
        rates[name] = run.rate
    return rates


async def _beside(empty: str, grown: str) -> dict[str, float]:
    """Return how many times as long each hot request takes on the large database; medians of the rounds."""
    slower: dict[str, list[float]] = {}
    with servers.swarmhold(empty) as small, servers.swarmhold(grown) as large:
        tokens = [await attach(server.url, server.root_key) for server in (small, large)]
        for _ in range(ROUNDS):
            fast, slow = await _calls(small, tokens[0]), await _calls(large, tokens[1])
            for name, rate in fast.items():
                slower.setdefault(name, []).append(rate / slow[name])
    return {name: median(ratios) for name, ratios in slower.items()}


async def measure() -> list[Row]:
    """Measure with finished tasks, open questions and live attempts."""
    rows: list[Row] = []
    with tempfile.TemporaryDirectory(prefix="swarmhold-bench-") as root:
        grown, empty, live = f"{root}/grown", f"{root}/empty", f"{root}/live"
        for folder, finished, questions in ((empty, 100, 100), (grown, FINISHED, QUESTIONS)):
            task_id, asking = await _made(folder, _life), await _made(folder, _question)
            Copies(Path(folder, "swarmhold.db"), series="0").make(task_id, finished)
            Copies(Path(folder, "swarmhold.db"), series="1").make(asking, questions)
        slower = await _beside(empty, grown)
        worst = max(slower, key=lambda name: slower[name])
        what = f"hot requests on {FINISHED:,} finished tasks, {FINISHED * 10:,} events and {QUESTIONS:,} open questions"
        each = ", ".join(f"{name} {ratio:.2f}" for name, ratio in slower.items())
        rows.append(Row(what, f"{slower[worst]:.2f} × ({worst})", f"one of 100 tasks: {each}", "≤ 1.2 ×"))
        task_id = await _made(live, _start_one)
        Copies(Path(live, "swarmhold.db"), series="0").make(task_id, LIVE)
        begin = time.perf_counter()
        with servers.swarmhold(live):
            rows.append(Row(f"start with {LIVE:,} live attempts", f"{time.perf_counter() - begin:.1f} s", "", "< 10 s"))
    return rows


def main() -> list[Row]:
    """Run the benchmark."""
    return run_async(measure)
