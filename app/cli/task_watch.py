"""Watching tasks: the feed says when something changed, a request what the state is then."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import aclosing, asynccontextmanager
from typing import TYPE_CHECKING

from rich.console import Console
from rich.live import Live
from rich.text import Text

from app.cli.events import line_of
from app.cli.output import console, document, inert, print_json, short, table
from app.cli.task_table import task_list
from swarmhold.models.enums import OutputType, Status

if TYPE_CHECKING:
    from swarmhold.models.tasks import Task
    from swarmhold.operator import Operator
    from swarmhold.sessions import Observer

    Reader = Observer | Operator
    Read = Callable[[], Awaitable[list[Task]]]

SHOWN = 30
COLLECT_S = 0.3
"""How long changes are collected before the list is read again."""


async def watch_one(seat: Reader, task_id: str, *, as_json: bool) -> Task:
    """Print the events of a task until it is done, and return it."""
    await seat.task(task_id)
    async with printing_events(seat, task_id, as_json=as_json):
        task = await seat.wait_for(task_id)
    if as_json:
        print_json(task.as_json(), indent=False)
    else:
        console.print(f"{task.id} is {task.status}: {short(task.last_result, 2000)}", soft_wrap=True)
    return task


@asynccontextmanager
async def printing_events(
    seat: Reader, task_id: str, *, as_json: bool = False, outputs: bool = False, stream: Console = console
) -> AsyncGenerator[None]:
    """Print the events of a task while the block waits for its end, its last ones included.

    With `outputs`, what its workers put out is printed as it comes, in place of the events about it.
    """
    printing = _print_events(seat, task_id, as_json=as_json, outputs=outputs, stream=stream)
    running = asyncio.create_task(printing, name="print events")
    try:
        yield
        # The last events arrive after the end is known.
        await asyncio.wait({running}, timeout=2.0)
    finally:
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)


async def _print_events(seat: Reader, task_id: str, *, as_json: bool, outputs: bool, stream: Console) -> None:
    """Print every event of a task from its beginning, until the task is done."""
    from swarmhold.models.events import Event

    printed: dict[int, int] = {}
    async with aclosing(seat.events(after=0, task=task_id)) as events:
        async for event in events:
            if not isinstance(event, Event):
                continue
            if as_json:
                print_json(event.as_json(), indent=False)
            elif outputs and event.kind == "worker_output" and event.attempt is not None:
                await _print_outputs(seat, task_id, event.attempt, printed, stream)
            else:
                stream.print(line_of(event), soft_wrap=True)
            if event.kind in _ENDS and (await seat.task(task_id)).settled:
                return


async def _print_outputs(seat: Reader, task_id: str, attempt: int, printed: dict[int, int], stream: Console) -> None:
    """Print the outputs of an attempt behind the last one that was printed. Its Final is the task's result."""
    async for output in seat.outputs(task_id, attempt, after=printed.get(attempt, 0)):
        printed[attempt] = output.seq or 0
        match output.type:
            case OutputType.PROGRESS:
                line = f"{output.stage}: {output.note}" if output.note else str(output.stage)
            case OutputType.PARTIAL:
                line = output.chunk if isinstance(output.chunk, str) else document(output.chunk)
            case OutputType.ARTIFACT:
                line = f"[{output.name}] {short((output.content or {}).get('value', output.content), 500)}"
            case _:
                continue
        stream.print(Text(inert(line)), soft_wrap=True)


_ENDS = frozenset({"task_pass", "task_blocked", "task_cancelled"})


async def watch_many(
    seat: Reader,
    *,
    status: Status | None,
    agent: str | None,
    label: list[str],
    as_json: bool,
) -> None:
    """Show the newest tasks, again after every change, until cancelled."""
    changed = asyncio.Event()
    changed.set()

    async def read() -> list[Task]:
        await changed.wait()
        changed.clear()
        page = await seat.tasks(status=status, agent=agent, label=label, limit=SHOWN)
        return page.items

    following = asyncio.create_task(_signal(seat, changed), name="follow the feed")
    try:
        if as_json:
            await _print_changes(read)
        else:
            await _redraw(read)
    finally:
        following.cancel()
        await asyncio.gather(following, return_exceptions=True)


async def _signal(seat: Reader, changed: asyncio.Event) -> None:
    async with aclosing(seat.events()) as events:
        async for _ in events:
            changed.set()


async def _print_changes(read: Read) -> None:
    seen: dict[str, int] = {}
    while True:
        for task in reversed(await read()):
            if seen.get(task.id) != task.version:
                seen[task.id] = task.version
                print_json(task.as_json(), indent=False)
        await asyncio.sleep(COLLECT_S)


async def _redraw(read: Read) -> None:
    with Live(table("id"), console=console, auto_refresh=False, screen=False) as live:
        while True:
            live.update(task_list(await read()), refresh=True)
            await asyncio.sleep(COLLECT_S)
