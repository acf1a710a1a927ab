"""Long polls: the latency of their wake-up, and the memory and wake-up time of thousands of them."""

from __future__ import annotations

import asyncio
import os
import time
from statistics import median

from benchmarks import servers
from benchmarks.load import Connection, connect, request, run_async
from benchmarks.report import Row
from benchmarks.swarm import attach, decoded, handles, start

IDLE = 300
PARKED = int(os.environ.get("BENCH_PARKED", "5000"))
PER_SOURCE = 10_000
"""Connections from one address: it has ports for some 28,000."""
LOAD_CLIENTS = 8
"""Clients that create load during the busy measurement."""


async def _idle(url: str, token: str) -> list[float]:
    """Return the milliseconds from sending the submit to the poll's reply, one at a time."""
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


async def _answers(url: str, token: str, senior: str) -> list[float]:
    """Return the milliseconds from sending the answer to the waiting worker's reply, one at a time."""
    took: list[float] = []
    waiter, answerer = await connect(url), await connect(url)
    for _, handle in await handles(url, token, IDLE):
        asked = await waiter.send(request("POST", "/v1/worker/questions", handle, b'{"question": "May I?"}'))
        key = decoded(asked)["key"]
        parked = waiter.send(request("GET", f"/v1/worker/questions/{key}?hold=30", handle))
        await asyncio.sleep(0.002)
        begin = time.perf_counter()
        answered = answerer.send(request("POST", f"/v1/senior/questions/{key}/answer", senior, b'{"value": "yes"}'))
        status, _ = await parked
        took.append(1000 * (time.perf_counter() - begin))
        if (status, (await answered)[0]) != (200, 200):
            raise RuntimeError("an answer did not arrive")
    return took


async def _busy(url: str, token: str) -> tuple[float, float]:
    """Return the 99th percentile of `_idle` under a load of whole task lives, and the lives per second."""
    lived = 0
    stopping = asyncio.Event()

    async def live() -> None:
        nonlocal lived
        line = await connect(url)
        while not stopping.is_set():
            _, handle = await start(line, token)
            await line.send(request("POST", "/v1/worker/submit", handle, b"done", "text/plain"))
            lived += 1
        line.close()

    begin = time.perf_counter()
    lives = [asyncio.create_task(live()) for _ in range(LOAD_CLIENTS)]
    took = sorted(await _idle(url, token))
    stopping.set()
    await asyncio.gather(*lives)
    return took[int(0.99 * len(took))], lived / (time.perf_counter() - begin)


async def _many(url: str, token: str, server: servers.Server) -> tuple[float, float]:
    """Return the KiB per long poll of many on one task, and the seconds until all have returned."""
    ((task_id, handle),) = await handles(url, token, 1, connections=1)
    lines: list[Connection] = [await connect(url, f"127.0.0.{2 + number // PER_SOURCE}") for number in range(PARKED)]
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
        raise RuntimeError("a long poll was not answered")
    return each, seconds


async def measure() -> list[Row]:
    """Measure the latency when idle and under load, then many long polls at once."""
    limits = {"SWARMHOLD_LIMITS__PARKED": str(2 * PARKED), "SWARMHOLD_LIMITS__CONNECTIONS": str(2 * PER_SOURCE)}
    with servers.swarmhold(**limits) as real:
        token = await attach(real.url, real.root_key)
        took = await _idle(real.url, token)
        answers = await _answers(real.url, token, await attach(real.url, real.root_key, "senior"))
        slowest, lives = await _busy(real.url, token)
        each, seconds = await _many(real.url, token, real)
    return [
        Row("submit → long poll returns, idle, p50", f"{median(took):.2f} ms", "", "< 2 ms"),
        Row("submit → long poll returns, busy, p99", f"{slowest:.1f} ms", f"at {lives:,.0f} lives/s", "< 100 ms"),
        Row("answer → waiting worker's long poll returns, idle, p50", f"{median(answers):.2f} ms", "", "< 2 ms"),
        Row(f"{PARKED:,} long polls, memory each", f"{each:.1f} KiB", "in addition to the open connection", "≤ 16 KiB"),
        Row(f"waking {PARKED:,} long polls at once", f"{seconds:.2f} s", "", "< 1 s"),
    ]


def main() -> list[Row]:
    """Run the benchmark."""
    return run_async(measure)
