"""Whole task lives with 64 clients: create, dispatch, prompt, submit, poll."""

from __future__ import annotations

import asyncio
import time
from statistics import median

from benchmarks import servers
from benchmarks.load import connect, request, run_async
from benchmarks.report import Row
from benchmarks.swarm import attach, decoded, start

CLIENTS = 64
LIVES = 5_000
ROUNDS = 3


async def many(url: str, token: str, count: int, final: bytes = b"done") -> None:
    """Run `count` lives that end with this Final, by `CLIENTS` clients. Raises RuntimeError unless all pass."""
    left = list(range(count))
    await asyncio.gather(*(_live(url, token, left, final) for _ in range(CLIENTS)))


async def _live(url: str, token: str, left: list[int], final: bytes) -> None:
    line = await connect(url)
    while left:
        left.pop()
        task_id, handle = await start(line, token)
        await line.send(request("GET", "/v1/worker/prompt", handle))
        await line.send(request("POST", "/v1/worker/submit", handle, final, "text/plain"))
        reply = await line.send(request("GET", f"/v1/operator/tasks/{task_id}/poll?hold=5", token))
        if reply[0] != 200 or decoded(reply)["status"] != "pass":
            raise RuntimeError(f"poll: {reply}")
    line.close()


async def measure() -> list[Row]:
    """Measure task lives per second; return the median of the rounds."""
    rates: list[float] = []
    cpu: list[float] = []
    with servers.swarmhold() as real:
        token = await attach(real.url, real.root_key)
        for _ in range(ROUNDS):
            begin, used = time.perf_counter(), real.cpu_seconds()
            await many(real.url, token, LIVES)
            rates.append(LIVES / (time.perf_counter() - begin))
            cpu.append((real.cpu_seconds() - used) / LIVES)
    measured = f"{median(rates):,.0f}/s, {median(cpu) * 1e6:.0f} µs CPU"
    return [Row("whole lives of tasks, 64 clients", measured, "5 requests each", "≥ 1,300/s")]


def main() -> list[Row]:
    """Run the benchmark."""
    return run_async(measure)
