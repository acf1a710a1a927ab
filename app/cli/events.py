"""`swarmhold events`: show past events and follow new ones."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.text import Text

from app.cli.endpoint import AsJson, Endpoint, calls_server, run_call
from app.cli.output import console, inert, print_json, short
from app.cli.sessions import reader_session

if TYPE_CHECKING:
    from swarmhold.models.events import Event, Lagged

QUIET_S = 1.0
"""Without `--follow`, the command ends after this long without an event."""

STYLES = {
    "task_pass": "green",
    "task_blocked": "red",
    "task_cancelled": "yellow",
    "task_suspended": "magenta",
    "senior_queried": "magenta",
    "senior_answered": "cyan",
    "lease_lost": "red",
    "attempt_timed_out": "red",
}
_PLAIN = {"cursor", "kind", "at", "task_id", "session_id", "attempt"}

Follow = Annotated[bool, typer.Option("-f", "--follow", help="Follow new events until Ctrl-C.")]
Last = Annotated[int, typer.Option("-n", "--last", help="How many of the latest to begin with.", min=0, max=1000)]
After = Annotated[int | None, typer.Option("--after", help="Begin after this cursor; 0 is the beginning.", min=0)]
Types = Annotated[str | None, typer.Option("--types", help="Only events of these kinds, separated by commas.")]
OfTask = Annotated[str | None, typer.Option("--task", help="Only events of this task.")]


@calls_server()
def events(
    endpoint: Endpoint,
    follow: Follow = False,
    last: Last = 20,
    after: After = None,
    types: Types = None,
    task: OfTask = None,
    as_json: AsJson = False,
) -> None:
    """Show the latest events, and with -f those to come. With --json, each is a line of its own."""
    kinds = [kind.strip() for kind in (types or "").split(",") if kind.strip()]

    async def call() -> None:
        async with reader_session(endpoint) as seat:
            feed = seat.events(after=after, last=last if after is None else None, types=kinds, task=task)
            async with aclosing(feed):
                await _show(feed, for_ever=follow, as_json=as_json)

    run_call(call)


async def _show(feed: AsyncGenerator[Event | Lagged], *, for_ever: bool, as_json: bool) -> None:
    from swarmhold.models.events import Lagged

    while True:
        try:
            async with asyncio.timeout(None if for_ever else QUIET_S):
                event = await anext(feed)
        except TimeoutError:
            return
        if isinstance(event, Lagged):
            if not as_json:
                console.print(Text("(fell behind; events were skipped)", style="dim"))
        elif as_json:
            print_json(event.as_json(), indent=False)
        else:
            console.print(line_of(event), soft_wrap=True)


def line_of(event: Event) -> Text:
    """Return an event as one line."""
    line = Text(str(event.as_json()["at"])[11:23], style="dim")
    line.append(f"  {event.kind:<22}", style=STYLES.get(event.kind, "bold"))
    if event.task_id is not None:
        line.append(f"  {inert(event.task_id)}")
    if event.attempt is not None:
        line.append(f" #{event.attempt}")
    more: dict[str, Any] = event.as_json(exclude=_PLAIN)
    for name, value in more.items():
        if value not in (None, [], {}):
            line.append(f"  {inert(name, lines=False)}=", style="dim")
            line.append(short(value))
    return line
