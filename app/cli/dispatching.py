"""Dispatching from the command line: the options that name a spawner, and the line about the new attempt."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.text import Text

from app.cli.exits import EXIT_MISUSED, CommandFailed
from app.cli.output import console, errors, print_json
from swarmhold.models.numbers import decode

if TYPE_CHECKING:
    from swarmhold.models.attempts import Dispatched
    from swarmhold.models.spawners import Spawner

DEFAULT_QUEUE = "default"

Queue = Annotated[
    str | None, typer.Option("--queue", help="Let a worker claim it from this queue (the default: default).")
]
Program = Annotated[str | None, typer.Option("--program", help="Let the server start this program.")]
Function = Annotated[str | None, typer.Option("--function", help="Let the server call this function.")]
External = Annotated[bool, typer.Option("--external", help="Start nothing: show the worker's handle.")]
SpawnerText = Annotated[str | None, typer.Option("--spawner", help="Any other spawner, as JSON.")]
Layers = Annotated[list[str] | None, typer.Option("--layer", help="A layer; may be repeated, outermost last.")]


def spawner_of(
    *, queue: str | None, program: str | None, function: str | None, external: bool, text: str | None
) -> Spawner | None:
    """Return the spawner that the options name, None for none. Raises CommandFailed for several, or an invalid one."""
    from pydantic import ValidationError

    from swarmhold.models.spawners import ExternalSpawner, InProcessSpawner, ProcessSpawner, QueueSpawner

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
            asked.append(spawner_from(decode(text)))
        except (ValueError, ValidationError) as error:
            raise CommandFailed(f"--spawner is not a valid spawner: {error}", status=EXIT_MISUSED) from error
    if len(asked) > 1:
        raise CommandFailed(
            "Name one spawner: --queue, --program, --function, --external or --spawner.", status=EXIT_MISUSED
        )
    return asked[0] if asked else None


def spawner_from(value: Any) -> Spawner:
    """Return the spawner of a JSON object. Raises ValidationError."""
    from pydantic import TypeAdapter

    from swarmhold.models.spawners import Spawner

    adapter: TypeAdapter[Spawner] = TypeAdapter(Spawner)
    return adapter.validate_python(value)


def announce(attempt: Dispatched, *, as_json: bool, waits: bool) -> None:
    """Print which attempt was started, with its handle where there is one."""
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
