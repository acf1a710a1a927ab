"""`swarmhold dev`: a server, a worker that plays an agent, and the console, to try things without an agent."""

from __future__ import annotations

import asyncio
import shutil
import signal
import tempfile
import webbrowser
from contextlib import suppress
from pathlib import Path
from typing import Annotated

import typer

from app.cli.demo.processes import Processes
from app.cli.endpoint import AsJson
from app.cli.exits import CommandFailed
from app.cli.output import print_json
from swarmhold import CallRetry, Job, JobFailed, SwarmholdClient
from swarmhold.errors import Error
from swarmhold.models.enums import Role

QUEUE = "dev"
CONSOLE = "/console"

Folder = Annotated[
    Path | None,
    typer.Option("--folder", help="Keep data and logs here; by default in a new folder that is removed at the end."),
]
Port = Annotated[int, typer.Option("--port", help="Port to listen on; 0 takes a free one.", min=0, max=65_535)]
Browser = Annotated[bool, typer.Option("--browser/--no-browser", help="Open the console in a browser.")]


def dev(folder: Folder = None, port: Port = 0, browser: Browser = True, as_json: AsJson = False) -> None:
    """Start a server and a demo worker, and open the console, for trying things, until Ctrl-C.

    With --json a single line says where the server is and where its root key.
    """
    kept = folder is not None
    place = Path(tempfile.mkdtemp(prefix="swarmhold-dev-")) if folder is None else folder.absolute()
    place.mkdir(mode=0o700, parents=True, exist_ok=True)
    try:
        asyncio.run(_run(Processes(place, place, url=f"http://127.0.0.1:{port}"), browser=browser, as_json=as_json))
    finally:
        if not kept:
            shutil.rmtree(place, ignore_errors=True)


async def _run(processes: Processes, *, browser: bool, as_json: bool) -> None:
    stopped = asyncio.Event()
    for each in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(each, stopped.set)
    work = asyncio.create_task(_serve(processes, browser=browser, as_json=as_json), name="server and worker")
    stop = asyncio.create_task(stopped.wait(), name="wait for a signal")
    try:
        await asyncio.wait((work, stop), return_when=asyncio.FIRST_COMPLETED)
        if work.done():
            work.result()
    finally:
        for task in (work, stop):
            task.cancel()
        await asyncio.gather(work, stop, return_exceptions=True)
        await processes.close()


async def _serve(processes: Processes, *, browser: bool, as_json: bool) -> None:
    """Start the server and work for it until it ends. Raises CommandFailed then."""
    await processes.start_server()
    async with SwarmholdClient(processes.url, call_retry=CallRetry()) as server:
        key = (await server.admin(processes.root_key).create_key("dev worker", [Role.WORKER])).key
        _announce(processes, as_json=as_json)
        if browser:
            await asyncio.to_thread(webbrowser.open, processes.url + CONSOLE)
        worker = asyncio.create_task(server.queue_worker(key, QUEUE, play, concurrency=4, name="dev worker").run())
        try:
            status = await processes.wait()
        finally:
            worker.cancel()
            with suppress(asyncio.CancelledError, Error):
                await worker
    raise CommandFailed(f"The server ended with status {status}:\n{processes.log('server')}")


def _announce(processes: Processes, *, as_json: bool) -> None:
    console, key = processes.url + CONSOLE, processes.data_dir / "root.key"
    if as_json:
        print_json({"url": processes.url, "console": console, "root_key": str(key), "queue": QUEUE}, indent=False)
        return
    print(
        f"Console:  {console}\nSign in:  with the root key in {key}\n"
        f'Try:      swarmhold run poet "Two lines about rain." --queue {QUEUE} --data-dir {processes.data_dir}\n'
        f"          A worker plays every agent on the queue {QUEUE}: it repeats its directive word by word, asks a\n"
        '          senior what ends with "?", and fails at what holds the word "fail".\n'
        "Ctrl-C ends all of it.",
        flush=True,
    )


async def play(job: Job) -> str:
    """Play an agent: repeat the prompt word by word, ask what is a question, fail where the prompt says so."""
    words = job.prompt.split()
    await job.worker.progress("reading", f"{len(words)} words")
    if words and words[-1].endswith("?"):
        asked = await job.worker.ask(job.prompt, choices=["yes", "no"], idempotency_key=f"{job.task_id}-{job.attempt}")
        return f"The senior said: {await job.worker.await_answer(asked.key)}"
    for word in words:
        await job.worker.partial(f"{word} ")
    if "fail" in words:
        raise JobFailed({"error": "it was directed to fail"})
    return f"{job.agent} received: {' '.join(words)}"
