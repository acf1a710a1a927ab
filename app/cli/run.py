"""`swarmhold run`: start one task, dispatch it, and wait for its result."""

from __future__ import annotations

import sys
from contextlib import nullcontext
from datetime import timedelta
from typing import Annotated, Any

import typer
from pydantic import TypeAdapter, ValidationError
from rich.console import Console
from rich.text import Text

from app.cli.endpoint import AsJson, ConfigFile, DataDir, InNamespace, Key, Url, endpoint_of, run_call
from app.cli.exits import EXIT_MISUSED, CommandFailed
from app.cli.output import console, document, errors, inert, print_json
from app.cli.sessions import operator_session
from app.cli.task_watch import printing_events
from swarmhold.encoding import decode
from swarmhold.errors import ApiProblem
from swarmhold.models.attempts import Dispatched, Retry
from swarmhold.models.enums import Status
from swarmhold.models.spawners import ExternalSpawner, InProcessSpawner, ProcessSpawner, QueueSpawner, Spawner
from swarmhold.models.tasks import Task
from swarmhold.operator import Operator

DEFAULT_QUEUE = "default"
SHORT_WAIT = timedelta(seconds=5)
EXIT_BY_STATUS = {Status.PASS: 0, Status.BLOCKED: 1, Status.CANCELLED: 3}

_SPAWNER: TypeAdapter[Spawner] = TypeAdapter(Spawner)

Agent = Annotated[str, typer.Argument(help="The agent that is to do the task.")]
Prompt = Annotated[str, typer.Argument(help="The directive; - reads it from standard input.")]
Queue = Annotated[
    str | None, typer.Option("--queue", help="Let a worker claim it from this queue (the default: default).")
]
Program = Annotated[str | None, typer.Option("--program", help="Let the server start this program.")]
Function = Annotated[str | None, typer.Option("--function", help="Let the server call this function.")]
External = Annotated[bool, typer.Option("--external", help="Start nothing: show the worker's handle.")]
SpawnerText = Annotated[str | None, typer.Option("--spawner", help="Any other spawner, as JSON.")]
Layers = Annotated[list[str] | None, typer.Option("--layer", help="A layer; may be repeated, outermost last.")]
Labels = Annotated[list[str] | None, typer.Option("--label", help="A label, name=value; may be repeated.")]
Attempts = Annotated[
    int, typer.Option("--attempts", help="How many attempts to make while its worker fails.", min=1, max=100)
]
Timeout = Annotated[float | None, typer.Option("--timeout", help="Seconds that one attempt may take.", min=0.001)]
Wait = Annotated[bool, typer.Option("--wait/--no-wait", help="Wait until the task is done.")]


def run(
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
    url: Url = None,
    key: Key = None,
    data_dir: DataDir = None,
    config: ConfigFile = None,
    namespace: InNamespace = None,
) -> None:
    """Start a task, dispatch it and wait. Ends with 0 for pass, 1 for blocked, 3 for cancelled.

    Ctrl-C leaves the task as it is. With --json, progress goes to standard error.
    """
    endpoint = endpoint_of(url, key, data_dir, config, namespace)
    chosen = _spawner(queue=queue, program=program, function=function, external=external, text=spawner)
    labels = dict(_pair(text) for text in label or ())
    text = _standard_input() if prompt == "-" else prompt
    retry = Retry(max_attempts=attempts) if attempts > 1 else None

    async def call() -> Task | None:
        async with operator_session(endpoint) as operator:
            life = timedelta(seconds=timeout) if timeout else None
            task = await operator.start_task(agent, text, labels=labels, retry=retry, attempt_timeout=life)
            try:
                attempt = await operator.dispatch(task.id, chosen, layers=layer or ())
            except ApiProblem:
                await operator.cancel(task.id, reason="it could not be dispatched")
                raise
            _announce(attempt, as_json=as_json, waits=wait)
            return await _await(operator, task.id, as_json=as_json) if wait else None

    finished = run_call(call)
    if finished is None:
        return
    _show(finished, as_json=as_json)
    raise typer.Exit(EXIT_BY_STATUS[finished.status])


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


def _spawner(
    *, queue: str | None, program: str | None, function: str | None, external: bool, text: str | None
) -> Spawner:
    """Return the spawner that the options name. Raises CommandFailed for several, or for an invalid one."""
    asked: list[Spawner] = []
    if queue is not None:
        asked.append(QueueSpawner(queue=queue))
    if program is not None:
        asked.append(ProcessSpawner(program=program))
    if function is not None:
        asked.append(InProcessSpawner(function=function))
    if external:
        asked.append(ExternalSpawner())
    if text is not None:
        try:
            asked.append(_SPAWNER.validate_python(decode(text)))
        except (ValueError, ValidationError) as error:
            raise CommandFailed(f"--spawner is not a valid spawner: {error}", status=EXIT_MISUSED) from error
    if len(asked) > 1:
        raise CommandFailed(
            "Name one spawner: --queue, --program, --function, --external or --spawner.", status=EXIT_MISUSED
        )
    return asked[0] if asked else QueueSpawner(queue=DEFAULT_QUEUE)


def _pair(text: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if not equals or not name:
        raise CommandFailed(f"A label is written name=value, and {text!r} is not.", status=EXIT_MISUSED)
    return name, value


def _announce(attempt: Dispatched, *, as_json: bool, waits: bool) -> None:
    shown: dict[str, Any] = attempt.as_json()
    if attempt.worker_handle is not None:
        shown["worker_handle"] = attempt.worker_handle
    if as_json and not waits:
        print_json(shown)
        return
    stream = errors if as_json else console
    stream.print(Text(f"{attempt.task_id}, attempt {attempt.attempt}"), soft_wrap=True)
    if attempt.worker_handle is not None:
        stream.print(Text(f"its worker's handle: {attempt.worker_handle}"), soft_wrap=True)


async def _await(operator: Operator, task_id: str, *, as_json: bool) -> Task:
    """Wait until the task is done, printing its events, and return it."""
    stream = errors if as_json else console
    with stream.status("waiting") if stream.is_terminal else nullcontext():
        async with printing_events(operator, task_id, stream=stream):
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
