"""Worker `GET /prompt` and `POST /submit` by handle at 64 connections, compared with the baseline server."""

from __future__ import annotations

import itertools
from statistics import median

from benchmarks import servers
from benchmarks.load import drive, request, run_async
from benchmarks.report import Row
from benchmarks.swarm import attach, handles

CONNECTIONS = 64
ROUNDS = 3
SECONDS = 3.0
SUBMITS = 12_000


async def _bare(url: str, method: str, body: bytes | None, expect: int) -> float:
    endless = itertools.repeat(request(method, "/v1/worker/prompt", "x" * 30, body, "text/plain"))
    return (await drive(url, endless, connections=CONNECTIONS, expect=expect, seconds=SECONDS)).rate


async def measure() -> list[Row]:
    """Measure the baseline and the real server in alternating rounds; return medians and their ratio."""
    get: list[tuple[float, float]] = []
    post: list[tuple[float, float]] = []
    tails: list[float] = []
    with servers.bare() as bare, servers.swarmhold() as real:
        token = await attach(real.url, real.root_key)
        for _ in range(ROUNDS):
            ready = await handles(real.url, token, SUBMITS)
            prompts = itertools.cycle([request("GET", "/v1/worker/prompt", handle) for _, handle in ready])
            run = await drive(real.url, prompts, connections=CONNECTIONS, expect=200, seconds=SECONDS)
            _require_expected(run.wrong)
            get.append((await _bare(bare.url, "GET", None, 200), run.rate))
            submits = iter([request("POST", "/v1/worker/submit", handle, b"done", "text/plain") for _, handle in ready])
            run = await drive(real.url, submits, connections=CONNECTIONS, expect=204, seconds=60)
            _require_expected(run.wrong)
            post.append((await _bare(bare.url, "POST", b"done", 204), run.rate))
            ready = await handles(real.url, token, 2_000)
            few = iter([request("POST", "/v1/worker/submit", handle, b"done", "text/plain") for _, handle in ready])
            run = await drive(real.url, few, connections=16, expect=204, seconds=60)
            tails.append(run.percentile(0.99))
    return [
        _row("GET /prompt by handle, 64 connections", get),
        _row("POST /submit by handle, 64 connections", post),
        Row("POST /submit by handle, 16 connections, p99", f"{median(tails):.2f} ms", "", "≤ 4 ms"),
    ]


def _row(what: str, pairs: list[tuple[float, float]]) -> Row:
    bare, real = median(a for a, _ in pairs), median(b for _, b in pairs)
    ratio = median(b / a for a, b in pairs)
    return Row(what, f"{real:,.0f}/s", f"bare {bare:,.0f}/s", f"≥ 0.35 of bare: {ratio:.2f}")


def _require_expected(wrong: dict[int, int]) -> None:
    if wrong:
        raise RuntimeError(f"unexpected statuses: {wrong}")


def main() -> list[Row]:
    """Run the benchmark."""
    return run_async(measure)
