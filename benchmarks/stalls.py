"""The worst stall of `/healthz` beside hostile bodies within the limits, each sent several times by one worker."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Mapping

from benchmarks import servers
from benchmarks.load import Connection, connect, request, run_async
from benchmarks.report import Row
from benchmarks.swarm import attach, start

ROUNDS = 5
FEW = 49_000
"""Members or elements of a body that stays within the limit of values."""
TEXT = 900_000
"""Bytes of a text that stays within the limit of a worker's body."""


def hostile() -> Mapping[str, tuple[str, bytes]]:
    """Return path and body of each request that is expensive in its own way, by its description."""
    lists = "[" + ",".join(["[]"] * FEW) + "]"
    unknown = ",".join(f'"u{n}":0' for n in range(FEW))
    escaped = '"' + '\\",' * (TEXT // 3) + '"'
    keywords = json.dumps({f"k{n}": n for n in range(4_000)})
    labels = json.dumps({str(n): n for n in range(FEW // 2)})
    worker = "/v1/worker"
    return {
        "unknown members of a task": (f"{worker}/tasks", f'{{"agent":"a",{unknown}}}'.encode()),
        "labels of a wrong type": (f"{worker}/tasks", f'{{"agent":"a","labels":{labels}}}'.encode()),
        "unknown members of an output": (f"{worker}/output", f'{{"type":"partial","chunk":1,{unknown}}}'.encode()),
        "empty arrays as an output": (f"{worker}/output", f'{{"type":"partial","chunk":{lists}}}'.encode()),
        "too many values": (f"{worker}/output", f'{{"type":"partial","chunk":[{lists},{lists},{lists}]}}'.encode()),
        "escaped text": (f"{worker}/output", f'{{"type":"partial","chunk":{escaped}}}'.encode()),
        "unknown schema keywords": (
            f"{worker}/questions",
            f'{{"question":"?","answer_schema":{keywords}}}'.encode(),
        ),
        "empty arrays as a question": (f"{worker}/questions", f'{{"question":[{"[]," * 20_000}1]}}'.encode()),
        "deep nesting": (f"{worker}/output", b'{"type":"partial","chunk":' + b"[" * FEW + b"]" * FEW + b"}"),
        "empty arrays as a result": (f"{worker}/submit", lists.encode()),
        "the same result again": (f"{worker}/submit", lists.encode()),
    }


async def _worst_probe(line: Connection, token: str, until: asyncio.Event) -> float:
    """Return the milliseconds that the slowest of many probes took."""
    worst = 0.0
    while not until.is_set():
        begin = time.perf_counter()
        await line.send(request("GET", "/healthz", token))
        worst = max(worst, time.perf_counter() - begin)
        await asyncio.sleep(0.001)
    return 1000 * worst


async def _stall(url: str, token: str, handle: str, path: str, body: bytes) -> float:
    done, probe, line = asyncio.Event(), await connect(url), await connect(url)
    probing = asyncio.create_task(_worst_probe(probe, token, done))
    for _ in range(ROUNDS):
        await line.send(request("POST", path, handle, body))
    done.set()
    worst = await probing
    probe.close()
    line.close()
    return worst


async def measure() -> list[Row]:
    """Send each body and return the worst stall that it caused."""
    rows: list[Row] = []
    with servers.swarmhold() as real:
        token = await attach(real.url, real.root_key)
        line = await connect(real.url)
        _, handle = await start(line, token)
        for what, (path, body) in hostile().items():
            worst = await _stall(real.url, token, handle, path, body)
            rows.append(Row(f"worst stall of /healthz beside: {what}", f"{worst:.0f} ms", "", "< 100 ms"))
    return rows


def main() -> list[Row]:
    """Run the benchmark."""
    return run_async(measure)
