"""Count the instructions of each step of a task's life, in process and independent of the machine's load.

The application runs under `valgrind --tool=callgrind` (Debian's package `valgrind`), called without sockets. Time
stands nearly still for it, since valgrind is fifty times slower than the machine: otherwise leases would need renewal
at every call, every operation would be logged as slow, and what the server does each second would be counted, the more
of it the slower the machine is. `--write` makes the counts the committed ones of this
build of Python, which its next runs are compared with.
"""

from __future__ import annotations

import asyncio
import itertools
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import Any

import orjson

from benchmarks.report import python_build

COMMITTED = Path(__file__).with_name("instructions.json")
WARM, LIVES = 32, 128
CLIENTS = 16
LIFE = ("create", "dispatch", "prompt", "submit", "poll")
READING_NS = 10_000
"""By how much each reading of a clock advances it."""
LONG_S = 1e6
SWITCH_S = 0.25
"""After how long a thread has to let another one go on: Python's 5 ms, fifty times slower."""
_TASK = json.dumps({"agent": "bench", "initial_directive": "Say hello to the world."}).encode()
_DISPATCH = json.dumps({"spawner": {"kind": "external"}}).encode()
_QUESTION = json.dumps({"question": "Ship it?"}).encode()
_ANSWER = json.dumps({"value": "yes"}).encode()

App = Callable[[dict[str, Any], Callable[[], Awaitable[Any]], Callable[[Any], Awaitable[None]]], Awaitable[None]]
Step = Callable[[Any], Awaitable[Any]]
Mark = Callable[[str], None]


class Client:
    """A client of the application with one credential."""

    def __init__(self, application: App, credential: str) -> None:
        self.application = application
        self._credential = b"Bearer " + credential.encode()

    async def call(self, method: str, path: str, body: bytes = b"", kind: bytes = b"application/json") -> Any:
        """Return the reply's JSON, or None for an empty one. Raises RuntimeError for a status from 400 on."""
        path, _, query = path.partition("?")
        headers = [(b"host", b"127.0.0.1"), (b"authorization", self._credential)]
        if body:
            headers += [(b"content-type", kind), (b"content-length", str(len(body)).encode())]
        scope = {
            "type": "http",
            "asgi": {"version": "3.0", "spec_version": "2.3"},
            "http_version": "1.1",
            "method": method,
            "scheme": "http",
            "path": path,
            "raw_path": path.encode(),
            "query_string": query.encode(),
            "root_path": "",
            "headers": headers,
            "client": ("127.0.0.1", 1),
            "server": ("127.0.0.1", 7777),
            "state": {},
        }
        sent: list[Any] = []
        messages = iter([{"type": "http.request", "body": body, "more_body": False}])

        async def receive() -> Any:
            message = next(messages, None)
            return message if message is not None else await asyncio.Future[Any]()

        async def send(message: Any) -> None:
            sent.append(message)

        await self.application(scope, receive, send)
        reply = b"".join(message.get("body", b"") for message in sent[1:])
        if sent[0]["status"] >= 400:
            raise RuntimeError(f"{method} {path}: {sent[0]['status']} {reply[:300]!r}")
        return orjson.loads(reply) if reply else None


async def _each(items: Sequence[Any], step: Step) -> list[Any]:
    """Carry out `step` for every item, up to `CLIENTS` at a time."""
    results: dict[int, Any] = {}
    left = iter(range(len(items)))

    async def work() -> None:
        for index in left:
            results[index] = await step(items[index])

    await asyncio.gather(*(work() for _ in range(CLIENTS)))
    return [results[index] for index in range(len(items))]


async def run(mark: Mark, *, database_url: str | None = None) -> None:
    """Start a server, by default on SQLite, and carry out every step to warm up and once more between marks."""
    from app.bootstrap.server import Server, quiet_garbage_collector
    from app.config import load
    from app.engine import gaps, indexing

    gaps.TICK_S = indexing.SHORTEST_PAUSE_S = indexing.LONGEST_PAUSE_S = LONG_S
    with tempfile.TemporaryDirectory(prefix="swarmhold-instructions-") as folder:
        flags: dict[str, Any] = {"data_dir": Path(folder)}
        if database_url is not None:
            flags["database_url"] = database_url
        settings = load(flags=flags, environ={}).settings
        server = await Server.build(settings, port=7777)
        await server.start()
        quiet_garbage_collector()
        try:
            root = Client(server.application, (Path(folder) / "root.key").read_text().strip())
            # Of another key: whoever asked may not answer.
            key = await root.call(
                "POST", "/v1/admin/keys", json.dumps({"name": "senior", "roles": ["senior"]}).encode()
            )
            operator = await _attach(root, "operator")
            senior = await _attach(Client(server.application, key["key"]), "senior")
            index = server.engine.indexing.catch_up
            await _steps(operator, senior, WARM, lambda _: None, index)
            await index()
            await _steps(operator, senior, LIVES, mark, index)
        finally:
            await server.stop()


async def _attach(key: Client, role: str) -> Client:
    body = json.dumps({"operator_id": f"bench-{role}", "role": role, "ttl": 36_000}).encode()
    reply = await key.call("POST", "/v1/operator/sessions", body)
    return Client(key.application, reply["token"])


async def _steps(
    operator: Client, senior: Client, lives: int, mark: Mark, index: Callable[[], Awaitable[None]]
) -> None:
    """Call `mark("")` before each step and `mark(name)` after it. `index` does what follows a life in its own time."""

    async def step(name: str, items: Sequence[Any], call: Step) -> list[Any]:
        mark("")
        results = await _each(items, call)
        mark(name)
        return results

    def worker(handle: str) -> Client:
        return Client(operator.application, handle)

    nothing, tasks = [None] * lives, "/v1/operator/tasks"
    made = await step("create", nothing, lambda _: operator.call("POST", tasks, _TASK))
    ids = [task["id"] for task in made]
    sent = await step("dispatch", ids, lambda id: operator.call("POST", f"{tasks}/{id}/dispatch", _DISPATCH))
    workers = [worker(reply["worker_handle"]) for reply in sent]
    await step("prompt", workers, lambda one: one.call("GET", "/v1/worker/prompt"))
    await step("submit", workers, lambda one: one.call("POST", "/v1/worker/submit", b"done", b"text/plain"))
    await step("poll", ids, lambda id: operator.call("GET", f"{tasks}/{id}/poll?hold=5"))
    mark("")
    await index()
    mark("index")
    made = await _each(nothing, lambda _: operator.call("POST", tasks, _TASK))
    asked = await _each(made, lambda task: operator.call("POST", f"{tasks}/{task['id']}/questions", _QUESTION))
    keys = [question["key"] for question in asked]
    await step("answer", keys, lambda key: senior.call("POST", f"/v1/senior/questions/{key}/answer", _ANSWER))


def slow_time() -> None:
    """Let clocks advance by being read only. Call it before the application is imported."""
    clock = itertools.count(time.time_ns(), READING_NS)
    time.time_ns = time.monotonic_ns = clock.__next__
    time.clock_gettime_ns = lambda _: next(clock)
    time.perf_counter = time.monotonic = lambda: next(clock) / 1e9


def _child(folder: Path) -> None:
    """Run under callgrind: at each mark wait until the parent has read or reset the counts."""

    def mark(name: str) -> None:
        runner.get_loop().timers_stand = not name  # pyright: ignore[reportAttributeAccessIssue]
        request = folder / "mark"
        request.with_suffix(".new").write_text(name)
        request.with_suffix(".new").rename(request)
        while request.exists():
            time.sleep(0.01)

    slow_time()
    sys.setswitchinterval(SWITCH_S)
    import uvloop

    class Loop(uvloop.Loop):
        """An event loop whose timers begin to stand still during the steps."""

        timers_stand = False

        def call_later(self, delay: float, callback: Any, *args: Any, context: Any = None) -> asyncio.TimerHandle:
            later = LONG_S if self.timers_stand and delay > 0 else delay
            return super().call_later(later, callback, *args, context=context)

    with asyncio.Runner(loop_factory=Loop) as runner:
        runner.run(run(mark))


def measure() -> dict[str, int]:
    """Return instructions per operation by step, and `life`, their sum for one task. Takes some minutes."""
    if shutil.which("valgrind") is None:
        raise SystemExit("valgrind is missing: install your system's package of that name")
    with tempfile.TemporaryDirectory(prefix="swarmhold-callgrind-") as name:
        folder = Path(name)
        command = [
            "valgrind",
            "--tool=callgrind",
            f"--callgrind-out-file={folder}/out",
            "--quiet",
            "--instr-atstart=no",
        ]
        command += [sys.executable, "-m", "benchmarks.instructions", "--child", name]
        environment = {**os.environ, "PYTHONHASHSEED": "0"}
        with subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL) as child:
            try:
                totals = _totals(child, folder)
            finally:
                child.kill()
    counts = {step: total // LIVES for step, total in totals.items()}
    return {**counts, "life": sum(counts[step] for step in LIFE)}


def _totals(child: subprocess.Popen[bytes], folder: Path) -> dict[str, int]:
    """Serve the child's marks until it ends; return the instructions of each step."""
    totals: dict[str, int] = {}
    request = folder / "mark"
    while child.poll() is None:
        if not request.exists():
            time.sleep(0.005)
            continue
        if name := request.read_text():
            totals[name] = _dumped(child.pid, folder)
        else:
            _control("--instr=on", child.pid)
            _control("--zero", child.pid)
        request.unlink()
    if child.returncode:
        raise SystemExit(f"the measured process ended with status {child.returncode}")
    return totals


def _dumped(pid: int, folder: Path) -> int:
    """Return the instructions of all threads since the last reset."""
    _control("--dump", pid)
    (dump,) = folder.glob("out.*")
    found = re.search(r"^(?:summary|totals): (\d+)", dump.read_text(), re.MULTILINE)
    dump.unlink()
    if found is None:
        raise SystemExit("callgrind's dump has no total")
    return int(found[1])


def _control(what: str, pid: int) -> None:
    subprocess.run(["callgrind_control", what, str(pid)], check=True, capture_output=True)


def main(arguments: Sequence[str]) -> None:
    """Print the counts beside the committed ones."""
    if arguments[:1] == ["--child"]:
        _child(Path(arguments[1]))
        return
    committed = json.loads(COMMITTED.read_text()) if COMMITTED.exists() else {}
    build, counts = python_build(), measure()
    known = committed.get(build, {})
    print(f"{build}; committed: {', '.join(committed) or 'nothing'}")
    for step, count in counts.items():
        before = known.get(step)
        print(f"{step:10} {count:>12,}" + (f" {before:>12,} {count / before - 1:+.1%}" if before else ""))
    if "--write" in arguments:
        COMMITTED.write_text(json.dumps({**committed, build: counts}, indent=2) + "\n")


if __name__ == "__main__":
    main(sys.argv[1:])
