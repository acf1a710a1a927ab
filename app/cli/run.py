"""`swarmhold run`: start one task, dispatch it, and wait for its result."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Sequence
from contextlib import nullcontext, suppress
from datetime import timedelta
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.text import Text

from app.cli.dispatching import (
    DEFAULT_QUEUE,
    External,
    Function,
    Layers,
    Program,
    Queue,
    SpawnerText,
    announce,
    spawner_of,
)
from app.cli.endpoint import AsJson, Endpoint, calls_server, run_call
from app.cli.exits import EXIT_MISUSED, CommandFailed
from app.cli.instants import duration
from app.cli.labels import labels_of
from app.cli.output import console, document, errors, inert, print_json
from app.cli.sessions import operator_session
from app.cli.task_watch import printing_events
from swarmhold.models.enums import Status

if TYPE_CHECKING:
    from swarmhold.models.attempts import Dispatched
    from swarmhold.models.spawners import Spawner
    from swarmhold.models.tasks import Task
    from swarmhold.operator import Operator

SHORT_WAIT = timedelta(seconds=5)
EXIT_BY_STATUS = {Status.PASS: 0, Status.BLOCKED: 1, Status.CANCELLED: 3}

Agent = Annotated[str, typer.Argument(help="The agent that is to do the task.")]
Prompt = Annotated[str, typer.Argument(help="The directive; - reads it from standard input.")]
Labels = Annotated[list[str] | None, typer.Option("--label", help="A label, name=value; may be repeated.")]
Attempts = Annotated[
    int, typer.Option("--attempts", help="How many attempts to make while its worker fails.", min=1, max=100)
]
Timeout = Annotated[str | None, typer.Option("--timeout", help="How long one attempt may take, as 90, 5m or 1h30m.")]
Wait = Annotated[bool, typer.Option("--wait/--no-wait", help="Wait until the task is done.")]


@calls_server()
def run(
    endpoint: Endpoint,
    agent: Agent,
    prompt: Prompt,
    queue: Queue = None,
    program: Program = None,
    function: Function = None,
    external: External = False,
    spawner: SpawnerText = None,
    layer: Layers = None,
    label: Labels = None,
    attempts: Attempts = 1,
    timeout: Timeout = None,
    wait: Wait = True,
    as_json: AsJson = False,
) -> None:
    """Start a task, dispatch it and wait. Ends with 0 for pass, 1 for blocked, 3 for cancelled.

    Its outputs are shown as they come. Ctrl-C leaves the task as it is; one that cannot be dispatched is cancelled.
    With --json, progress goes to standard error.
    """
    from swarmhold.models.attempts import Retry
    from swarmhold.models.spawners import QueueSpawner

    asked = spawner_of(queue=queue, program=program, function=function, external=external, text=spawner)
    chosen = asked or QueueSpawner(queue=DEFAULT_QUEUE)
    labels = labels_of(label)
    life = None if timeout is None else duration(timeout)
    text = _standard_input() if prompt == "-" else prompt
    retry = Retry(max_attempts=attempts) if attempts > 1 else None

    async def call() -> Task | None:
        async with operator_session(endpoint) as operator:
            task = await operator.start_task(agent, text, labels=labels, retry=retry, attempt_timeout=life)
            attempt = await _dispatched(operator, task, chosen, layer or ())
            announce(attempt, as_json=as_json, waits=wait)
            return await _await(operator, task.id, as_json=as_json) if wait else None

    finished = run_call(call)
    if finished is None:
        return
    _show(finished, as_json=as_json)
    raise typer.Exit(EXIT_BY_STATUS[finished.status])


async def _dispatched(operator: Operator, task: Task, spawner: Spawner, layers: Sequence[str]) -> Dispatched:
    """Dispatch the task. One for which that fails, or is interrupted, is cancelled: nobody waits for it."""
    from swarmhold.errors import Error

    try:
        return await operator.dispatch(task.id, spawner, layers=layers)
    except (Error, asyncio.CancelledError):
        with suppress(Error):
            await operator.cancel(task.id, reason="it could not be dispatched")
        raise


def _standard_input() -> str:
    """Return the text on standard input. Raises CommandFailed for what no prompt can hold."""
    try:
        text = sys.stdin.buffer.read().decode()
    except UnicodeDecodeError as error:
        raise CommandFailed(
            f"Standard input is not UTF-8 text (byte {error.start}). Convert it, as with iconv -f latin1 -t utf-8.",
            status=EXIT_MISUSED,
        ) from error
    if "\0" in text:
        raise CommandFailed(
            f"Standard input holds a NUL (character {text.index(chr(0))}), as text never does. Remove it.",
            status=EXIT_MISUSED,
        )
    return text


async def _await(operator: Operator, task_id: str, *, as_json: bool) -> Task:
    """Wait until the task is done, printing its events, and return it."""
    stream = errors if as_json else console
    with stream.status("waiting") if stream.is_terminal else nullcontext():
        async with printing_events(operator, task_id, outputs=True, stream=stream):
            return await _finished(operator, task_id, stream=stream)


async def _finished(operator: Operator, task_id: str, *, stream: Console) -> Task:
    """Wait until the task is done, and return it; after a while say what it waits for, such as a worker."""
    try:
        return await operator.wait_for(task_id, deadline=SHORT_WAIT)
    except TimeoutError:
        why = await operator.why(task_id)
        stream.print(Text(inert(why.summary)), soft_wrap=True)
    return await operator.wait_for(task_id)


def _show(task: Task, *, as_json: bool) -> None:
    if as_json:
        print_json(task.as_json())
        return
    result = task.last_result
    console.print(Text(f"{task.id} is {task.status}", style="bold"), soft_wrap=True)
    if isinstance(result, str):
        console.print(Text(inert(result)), soft_wrap=True)
    elif result is not None:
        console.print(Text(inert(document(result, indent=True))), soft_wrap=True)
