"""How soon a parked poll answers after the submit, how many can be parked, and what one costs."""

from __future__ import annotations

import asyncio
import time
from statistics import median

from benchmarks import servers
from benchmarks.load import Connection, connect, request, run_async
from benchmarks.report import Row
from benchmarks.swarm import attach, handles

IDLE = 300
PARKED = 5_000


async def _idle(url: str, token: str) -> list[float]:
    """Milliseconds from sending the submit to the poll's reply, one at a time."""
    took: list[float] = []
    poller, worker = await connect(url), await connect(url)
    for task_id, handle in await handles(url, token, IDLE):
        parked = poller.send(request("GET", f"/v1/operator/tasks/{task_id}/poll?hold=30", token))
        await asyncio.sleep(0.002)
        begin = time.perf_counter()
        submitted = worker.send(request("POST", "/v1/worker/submit", handle, b"done", "text/plain"))
        await parked
        took.append(1000 * (time.perf_counter() - begin))
        await submitted
    return took


async def _many(url: str, token: str, server: servers.Server) -> tuple[float, float]:
    """KiB for each of many parked polls on one task, and seconds until all are awake."""
    ((task_id, handle),) = await handles(url, token, 1, connections=1)
    lines: list[Connection] = [await connect(url) for _ in range(PARKED)]
    before = server.memory_kib()
    parked = [line.send(request("GET", f"/v1/operator/tasks/{task_id}/poll?hold=300", token)) for line in lines]
    await asyncio.sleep(3)
    each = (server.memory_kib() - before) / PARKED
    worker = await connect(url)
    begin = time.perf_counter()
    await worker.send(request("POST", "/v1/worker/submit", handle, b"done", "text/plain"))
    replies = await asyncio.gather(*parked)
    seconds = time.perf_counter() - begin
    if any(status != 200 for status, _ in replies):
        raise RuntimeError("a parked poll was not answered")
    return each, seconds


async def measure() -> list[Row]:
    """Idle latency, then the crowd."""
    with servers.swarmhold() as real:
        token = await attach(real.url, real.root_key)
        took = await _idle(real.url, token)
        each, seconds = await _many(real.url, token, real)
    return [
        Row("submit → parked poll answers, idle, p50", f"{median(took):.2f} ms", "", "< 2 ms"),
        Row(f"{PARKED:,} parked polls, memory each", f"{each:.1f} KiB", "beyond the open connection", "≤ 20 KiB"),
        Row(f"waking {PARKED:,} parked polls at once", f"{seconds:.2f} s", "", "< 1 s"),
    ]


def main() -> list[Row]:
    """Run it."""
    return run_async(measure)  # type: ignore[return-value]
