"""Worker `GET /prompt` and `POST /submit` by handle at 64 connections, compared with the baseline server."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from statistics import median
from typing import NamedTuple

from benchmarks import servers
from benchmarks.load import Request, drive, request, run_async
from benchmarks.report import Row
from benchmarks.swarm import attach, handles

CONNECTIONS = 64
ROUNDS = 3
SECONDS = 3.0
SUBMITS = 12_000


class Round(NamedTuple):
    """One round: requests per second of the baseline and of the real server, and the CPU µs of a real request."""

    bare: float
    real: float
    cpu: float


async def _bare(url: str, method: str, body: bytes | None, expect: int) -> float:
    endless = itertools.repeat(request(method, "/v1/worker/prompt", "x" * 30, body, "text/plain"))
    return (await drive(url, endless, connections=CONNECTIONS, expect=expect, seconds=SECONDS)).rate


async def _real(
    server: servers.Server, requests: Iterator[Request], *, expect: int, seconds: float
) -> tuple[float, float]:
    """Return requests per second and the CPU µs of each. Raises RuntimeError for an unexpected status."""
    used = server.cpu_seconds()
    run = await drive(server.url, requests, connections=CONNECTIONS, expect=expect, seconds=seconds)
    if run.wrong:
        raise RuntimeError(f"unexpected statuses: {run.wrong}")
    return run.rate, (server.cpu_seconds() - used) / run.count * 1e6


async def measure() -> list[Row]:
    """Measure the baseline and the real server in alternating rounds; return medians and their ratio."""
    get: list[Round] = []
    post: list[Round] = []
    tails: list[float] = []
    with servers.bare() as bare, servers.swarmhold() as real:
        token = await attach(real.url, real.root_key)
        for _ in range(ROUNDS):
            ready = await handles(real.url, token, SUBMITS)
            prompts = itertools.cycle([request("GET", "/v1/worker/prompt", handle) for _, handle in ready])
            rate, cpu = await _real(real, prompts, expect=200, seconds=SECONDS)
            get.append(Round(await _bare(bare.url, "GET", None, 200), rate, cpu))
            submits = iter([request("POST", "/v1/worker/submit", handle, b"done", "text/plain") for _, handle in ready])
            rate, cpu = await _real(real, submits, expect=204, seconds=60)
            post.append(Round(await _bare(bare.url, "POST", b"done", 204), rate, cpu))
            ready = await handles(real.url, token, 2_000)
            few = iter([request("POST", "/v1/worker/submit", handle, b"done", "text/plain") for _, handle in ready])
            run = await drive(real.url, few, connections=16, expect=204, seconds=60)
            tails.append(run.percentile(0.99))
    return [
        _row("GET /prompt by handle, 64 connections", get, 0.45),
        _row("POST /submit by handle, 64 connections", post, 0.20),
        Row("POST /submit by handle, 16 connections, p99", f"{median(tails):.2f} ms", "", "≤ 6 ms"),
    ]


def _row(what: str, rounds: list[Round], goal: float) -> Row:
    bare, real, cpu = (median(values) for values in zip(*rounds, strict=True))
    ratio = median(round.real / round.bare for round in rounds)
    return Row(what, f"{real:,.0f}/s, {cpu:.0f} µs CPU", f"bare {bare:,.0f}/s", f"≥ {goal:.2f} of bare: {ratio:.2f}")


def main() -> list[Row]:
    """Run the benchmark."""
    return run_async(measure)
