"""The worst stall of `/healthz` beside hostile requests within the limits: bodies, large reads, and parked requests."""

from __future__ import annotations

import asyncio
import json
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from urllib.parse import urlsplit

from benchmarks import servers
from benchmarks.load import Connection, connect, request, run_async
from benchmarks.report import Row
from benchmarks.servers import Server
from benchmarks.swarm import attach, start

ROUNDS = 5
FEW = 49_000
"""Members or elements of a body that stays within the limit of values."""
TEXT = 900_000
"""Bytes of a text that stays within the limit of a worker's body."""
LONG_TEXT = 8_300_000
"""Bytes of a text that stays within the limit of any other body."""
PARKED = 256
"""Requests of one token that may wait."""
STREAMS = 32
"""Event streams of one token that may be open."""

WORKER = "/v1/worker"
OPERATOR = "/v1/operator"


def hostile() -> Mapping[str, tuple[str, bytes]]:
    """Return path and body of each request of a worker that is expensive in its own way, by its description."""
    lists = "[" + ",".join(["[]"] * FEW) + "]"
    unknown = ",".join(f'"u{n}":0' for n in range(FEW))
    escaped = '"' + '\\",' * (TEXT // 3) + '"'
    numbers = "[" + ",".join(["0.1234567890123456789"] * (TEXT // 22)) + "]"
    keywords = json.dumps({f"k{n}": n for n in range(4_000)})
    labels = json.dumps({str(n): n for n in range(FEW // 2)})
    return {
        "unknown members of a task": (f"{WORKER}/tasks", f'{{"agent":"a",{unknown}}}'.encode()),
        "labels of a wrong type": (f"{WORKER}/tasks", f'{{"agent":"a","labels":{labels}}}'.encode()),
        "unknown members of an output": (f"{WORKER}/output", f'{{"type":"partial","chunk":1,{unknown}}}'.encode()),
        "empty arrays as an output": (f"{WORKER}/output", f'{{"type":"partial","chunk":{lists}}}'.encode()),
        "exact decimals as an output": (f"{WORKER}/output", f'{{"type":"partial","chunk":{numbers}}}'.encode()),
        "too many values": (f"{WORKER}/output", f'{{"type":"partial","chunk":[{lists},{lists},{lists}]}}'.encode()),
        "escaped text": (f"{WORKER}/output", f'{{"type":"partial","chunk":{escaped}}}'.encode()),
        "unknown schema keywords": (f"{WORKER}/questions", f'{{"question":"?","answer_schema":{keywords}}}'.encode()),
        "empty arrays as a question": (f"{WORKER}/questions", f'{{"question":[{"[]," * 20_000}1]}}'.encode()),
        "deep nesting": (f"{WORKER}/output", b'{"type":"partial","chunk":' + b"[" * FEW + b"]" * FEW + b"}"),
        "empty arrays as a result": (f"{WORKER}/submit", lists.encode()),
        "the same result again": (f"{WORKER}/submit", lists.encode()),
    }


def large(task_id: str) -> Mapping[str, tuple[str, str, bytes]]:
    """Return method, path and body of each request of an operator that is as large as it may be, by its description."""
    plain, escaped = b'"' + b"x" * LONG_TEXT + b'"', b'"' + b'\\",' * (LONG_TEXT // 3) + b'"'
    numbers = _decimals()
    lists = b"[" + b",".join([b"[]"] * FEW) + b',"' + b"x" * 8_000_000 + b'"]'
    strange = "é\\u0001\U0001f980".encode() * (LONG_TEXT // 12)
    at, resource = f"{OPERATOR}/tasks/{task_id}", f"{OPERATOR}/resources/large"
    return {
        "8 MiB of text as a resource": ("PUT", resource, plain),
        "8 MiB of escaped text as a resource": ("PUT", resource, escaped),
        "8 MiB of exact decimals as a resource": ("PUT", resource, numbers),
        "8 MiB with empty arrays as a resource": ("PUT", resource, lists),
        "8 MiB of letters and controls as a resource": ("PUT", resource, b'"' + strange + b'"'),
        "8 MiB that are cut off": ("PUT", resource, lists[:-1]),
        "8 MiB of text as a task": ("POST", f"{OPERATOR}/tasks", b'{"agent":"a","initial_directive":' + plain + b"}"),
        "8 MiB of decimals as an interim result": ("POST", f"{at}/result", b'{"value":' + numbers + b"}"),
        "8 MiB of text as an interim result": ("POST", f"{at}/result", b'{"value":' + plain + b"}"),
    }


def _decimals() -> bytes:
    return b"[" + b",".join([b"0." + b"123456789" * 8] * (LONG_TEXT // 84)) + b"]"


async def _probe(url: str, token: str) -> None:
    """Print the milliseconds that the slowest of many probes took, until standard input ends."""
    line, done, worst = await connect(url), asyncio.Event(), 0.0
    asyncio.get_running_loop().add_reader(sys.stdin, done.set)
    await line.send(request("GET", "/healthz", token))
    print(flush=True)
    while not done.is_set():
        begin = time.perf_counter()
        await line.send(request("GET", "/healthz", token))
        worst = max(worst, time.perf_counter() - begin)
        await asyncio.sleep(0.001)
    print(1000 * worst)


async def _stall(url: str, token: str, work: Callable[[], Awaitable[object]]) -> float:
    """Return the worst stall in milliseconds while `work` is done; probed by a process that does nothing else."""
    command = (sys.executable, "-m", "benchmarks.stalls", url, token)
    probe = await asyncio.create_subprocess_exec(
        *command, stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE
    )
    if probe.stdout is None:
        raise AssertionError("it was started with a pipe")
    await probe.stdout.readline()
    await work()
    return float((await probe.communicate(b""))[0])


async def _sent(url: str, data: bytes, rounds: int = ROUNDS) -> None:
    line = await connect(url)
    for _ in range(rounds):
        await line.send(data)
    line.close()


def _row(what: str, worst: float) -> Row:
    return Row(f"worst stall of /healthz beside: {what}", f"{worst:.0f} ms", "", "< 100 ms")


async def _bodies(real: Server, token: str) -> list[Row]:
    line = await connect(real.url)
    task_id, handle = await start(line, token)
    rows: list[Row] = []
    for what, (path, body) in hostile().items():
        data = request("POST", path, handle, body)
        rows.append(_row(what, await _stall(real.url, token, lambda data=data: _sent(real.url, data))))
    task_id, _ = await start(line, token)
    for what, (method, path, body) in large(task_id).items():
        data = request(method, path, token, body)
        rows.append(_row(what, await _stall(real.url, token, lambda data=data: _sent(real.url, data))))
    return [*rows, *await _decisions(real, token, task_id), *await _reads(real, token, task_id)]


async def _decisions(real: Server, token: str, task_id: str) -> list[Row]:
    """Answer a question of a task, and override its verdict, with 8 MiB of exact decimals."""
    line = await connect(real.url)
    key = await _made(line, "/v1/admin/keys", real.root_key, b'{"name":"senior","roles":["senior"]}', "key")
    senior = await attach(real.url, key, "senior")
    asked = await _made(line, f"{OPERATOR}/tasks/{task_id}/questions", token, b'{"question":"?"}', "key")
    body = b'{"ok":true,"value":' + _decimals() + b"}"
    verdict = request("POST", f"/v1/senior/tasks/{task_id}/verdict", senior, body)
    answer = request("POST", f"/v1/senior/questions/{asked}/answer", senior, body.replace(b'"ok":true,', b""))
    return [
        _row("8 MiB of exact decimals as an answer", await _stall(real.url, token, lambda: _sent(real.url, answer))),
        _row("8 MiB of exact decimals as a verdict", await _stall(real.url, token, lambda: _sent(real.url, verdict))),
    ]


async def _made(line: Connection, path: str, credential: str, body: bytes, name: str) -> str:
    """Make an object and return one member of it."""
    status, reply = await line.send(request("POST", path, credential, body))
    if status != 201:
        raise RuntimeError(f"POST {path}: {status} {reply[:200]!r}")
    return str(json.loads(reply)[name])


async def _reads(real: Server, token: str, task_id: str) -> list[Row]:
    """Read a task with a result of 8 MiB, by one caller and by many at a time."""
    data = request("GET", f"{OPERATOR}/tasks/{task_id}", token)
    one = await _stall(real.url, token, lambda: _sent(real.url, data))
    many = await _stall(real.url, token, lambda: asyncio.gather(*(_sent(real.url, data, 1) for _ in range(20))))
    resource = request("GET", f"{OPERATOR}/resources/large", token)
    other = await _stall(real.url, token, lambda: _sent(real.url, resource))
    return [
        _row("reading a task of 8 MiB", one),
        _row("20 reads of a task of 8 MiB at a time", many),
        _row("reading a resource of 8 MiB", other),
    ]


@asynccontextmanager
async def _parked(url: str, token: str, task_id: str) -> AsyncIterator[Sequence[asyncio.Future[tuple[int, bytes]]]]:
    """Park as many polls of a task as one token may, and open as many event streams."""
    poll = request("GET", f"{OPERATOR}/tasks/{task_id}/poll?hold=600&since=1000000", token)
    lines = [await connect(url) for _ in range(PARKED)]
    waiting = [line.send(poll) for line in lines]
    async with AsyncExitStack() as streams:
        for _ in range(STREAMS):
            await streams.enter_async_context(_stream(url, token))
        yield waiting
    for line in lines:
        line.close()


@asynccontextmanager
async def _stream(url: str, token: str) -> AsyncIterator[None]:
    """Open an event stream and read whatever comes."""
    where = urlsplit(url)
    reader, writer = await asyncio.open_connection(where.hostname, where.port)
    writer.write(request("GET", f"{OPERATOR}/events", token))
    reading = asyncio.create_task(_read_all(reader))
    yield
    reading.cancel()
    writer.close()


async def _read_all(reader: asyncio.StreamReader) -> None:
    while await reader.read(65536):
        pass


async def _waits(real: Server, token: str) -> list[Row]:
    """Work beside polls and streams at their limits, and at last the end of all polls at once."""
    line = await connect(real.url)
    task_id, handle = await start(line, token)
    body = b'{"value":"' + b"x" * LONG_TEXT + b'"}'
    await line.send(request("POST", f"{OPERATOR}/tasks/{task_id}/result", token, body))
    note = request("POST", f"{WORKER}/output", handle, b'{"type":"progress","stage":"s"}')
    end = request("POST", f"{OPERATOR}/tasks/{task_id}/cancel", token, b"{}")
    async with _parked(real.url, token, task_id) as waiting:
        beside = await _stall(real.url, token, lambda: _sent(real.url, note, 200))
        changed = await _stall(
            real.url, token, lambda: _sent(real.url, request("POST", f"{OPERATOR}/tasks/{task_id}/result", token, body))
        )

        async def ending() -> None:
            await line.send(end)
            await asyncio.gather(*waiting)

        ended = await _stall(real.url, token, ending)
    return [
        _row("200 events, with 256 polls and 32 streams of one token", beside),
        _row("changes of a task of 8 MiB that 256 polls watch", changed),
        _row("the end of 256 polls of a task of 8 MiB", ended),
    ]


async def measure() -> list[Row]:
    """Do each kind of work and return the worst stall that it caused."""
    with servers.swarmhold() as real:
        token = await attach(real.url, real.root_key)
        return [*await _bodies(real, token), *await _waits(real, token)]


def main() -> list[Row]:
    """Run the benchmark."""
    return run_async(measure)


if __name__ == "__main__":
    run_async(lambda: _probe(*sys.argv[1:]))
