"""Whole task lives with 64 clients: create, dispatch, prompt, submit, poll."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator, Sequence
from itertools import cycle
from statistics import median

from benchmarks import servers
from benchmarks.load import Connection, connect, request, run_async
from benchmarks.report import Row
from benchmarks.swarm import attach, decoded, start

CLIENTS = 64
LIVES = 5_000
ROUNDS = 3


async def many(urls: Sequence[str], token: str, count: int, final: bytes = b"done") -> None:
    """Run `count` lives that end with this Final, each request at the next node. Raises RuntimeError if one fails."""
    left = list(range(count))

    async def run() -> None:
        lines = [await connect(url) for url in urls]
        turns = cycle(lines)
        while left:
            left.pop()
            await one(turns, token, final)
        for line in lines:
            line.close()

    await asyncio.gather(*(run() for _ in range(CLIENTS)))


async def one(turns: Iterator[Connection], token: str, final: bytes = b"done") -> None:
    """Run one life, each request over the next connection. Raises RuntimeError unless it passes."""
    task_id, handle = await start(next(turns), token)
    await next(turns).send(request("GET", "/v1/worker/prompt", handle))
    await next(turns).send(request("POST", "/v1/worker/submit", handle, final, "text/plain"))
    reply = await next(turns).send(request("GET", f"/v1/operator/tasks/{task_id}/poll?hold=5", token))
    if reply[0] != 200 or decoded(reply)["status"] != "pass":
        raise RuntimeError(f"poll: {reply}")


async def measure() -> list[Row]:
    """Measure task lives per second; return the median of the rounds."""
    rates: list[float] = []
    cpu: list[float] = []
    with servers.swarmhold() as real:
        token = await attach(real.url, real.root_key)
        for _ in range(ROUNDS):
            begin, used = time.perf_counter(), real.cpu_seconds()
            await many([real.url], token, LIVES)
            rates.append(LIVES / (time.perf_counter() - begin))
            cpu.append((real.cpu_seconds() - used) / LIVES)
    measured = f"{median(rates):,.0f}/s, {median(cpu) * 1e6:.0f} µs CPU"
    return [Row("whole lives of tasks, 64 clients", measured, "5 requests each", "≥ 1,300/s")]


def main() -> list[Row]:
    """Run the benchmark."""
    return run_async(measure)
