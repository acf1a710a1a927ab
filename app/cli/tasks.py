"""`swarmhold tasks`: list, show and watch tasks, act on them, and say why one does not move."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer
from rich.text import Text

from app.cli.endpoint import AsJson, Endpoint, calls_server, run_call
from app.cli.exits import CommandFailed
from app.cli.instants import instant
from app.cli.labels import OfLabel, filter_of
from app.cli.output import add_row, console, inert, print_json, short, table
from app.cli.sessions import call_in, reader_session, senior_session
from app.cli.task_actions import TaskId, cancel, dispatch, mark, retry
from app.cli.task_table import STATUS_STYLES, task_list, usage_text
from swarmhold.models.enums import Status

if TYPE_CHECKING:
    from swarmhold.models.attempts import Attempt
    from swarmhold.models.outputs import OutputRecord
    from swarmhold.models.questions import Question
    from swarmhold.models.tasks import Task
    from swarmhold.models.usage import TaskUsage
    from swarmhold.traces import TaskFilters

tasks = typer.Typer(help="List, show, retry and cancel tasks, and say why one does not move.", no_args_is_help=True)

OfStatus = Annotated[Status | None, typer.Option("--status", help="Only tasks with this status.")]
OfAgent = Annotated[str | None, typer.Option("--agent", help="Only tasks of this agent.")]
OfParent = Annotated[str | None, typer.Option("--parent", help="Only the children of this task.")]
Search = Annotated[str | None, typer.Option("-q", "--search", help="Text in directive, result, agent or labels.")]
Since = Annotated[str | None, typer.Option("--since", help="Only tasks made since, as '2h ago' or 2026-12-01.")]
Until = Annotated[str | None, typer.Option("--until", help="Only tasks made before, as 'today 12:00'.")]
Sort = Annotated[
    Literal["newest", "oldest", "longest", "shortest"],
    typer.Option("--sort", help="Which come first; longest by the time since the first dispatch, until it was done."),
]
Most = Annotated[int, typer.Option("-n", "--most", help="How many tasks to show at most.", min=1, max=10_000)]


@tasks.command("list", hidden=True)
@tasks.command("ls")
@calls_server()
def list_tasks(
    endpoint: Endpoint,
    status: OfStatus = None,
    agent: OfAgent = None,
    label: OfLabel = None,
    parent: OfParent = None,
    search: Search = None,
    since: Since = None,
    until: Until = None,
    sort: Sort = "newest",
    most: Most = 50,
    as_json: AsJson = False,
) -> None:
    """List tasks, newest first."""
    filters: TaskFilters = {"status": status, "agent": agent, "parent": parent, "label": filter_of(label), "q": search}
    filters["sort"] = sort
    filters["created_from"] = None if since is None else instant(since)
    filters["created_until"] = None if until is None else instant(until)

    async def call() -> list[Task]:
        found: list[Task] = []
        async with reader_session(endpoint) as seat:
            async for task in seat.all_tasks(**filters):
                found.append(task)
                if len(found) == most:
                    break
        return found

    found = run_call(call)
    if as_json:
        print_json([task.as_json() for task in found])
        return
    console.print(task_list(found))


@tasks.command()
@calls_server()
def show(endpoint: Endpoint, task_id: TaskId, as_json: AsJson = False) -> None:
    """Show a task with its attempts, the outputs of the last one, and its questions with their answers."""

    async def call() -> tuple[Task, list[Attempt], list[OutputRecord], TaskUsage]:
        async with reader_session(endpoint) as seat:
            task = await seat.task(task_id)
            outputs = await seat.output(task_id, task.attempt, whole=as_json) if task.attempt else []
            return task, await seat.attempts(task_id, whole=as_json), outputs, await seat.usage(task_id)

    async def ask() -> list[Question]:
        async with senior_session(endpoint, quiet=True) as senior:
            return (await senior.questions(task_id=task_id)).items

    task, attempts, outputs, used = run_call(call)
    questions = _unless_refused(ask)
    if as_json:
        print_json(
            {
                "task": task.as_json(),
                "attempts": [attempt.as_json() for attempt in attempts],
                "outputs": [output.as_json() for output in outputs],
                "questions": [question.as_json() for question in questions],
                "usage": used.as_json(),
            }
        )
        return
    from app.cli.questions import print_question

    _show(task, attempts, outputs, used)
    for question in questions:
        print_question(question)


def _unless_refused(call: Callable[[], Coroutine[Any, Any, list[Question]]]) -> list[Question]:
    """Return the questions, none with a key that may not read questions."""
    from swarmhold.errors import ApiProblem

    try:
        return run_call(call)
    except CommandFailed as failed:
        if isinstance(failed.__cause__, ApiProblem) and failed.__cause__.code == "role-violation":
            return []
        raise


def _show(task: Task, attempts: list[Attempt], outputs: list[OutputRecord], used: TaskUsage) -> None:
    facts = table("", "")
    facts.show_header = False
    about = task.as_json()
    add_row(facts, (task.id, Text(task.status, style=STATUS_STYLES[task.status])))
    add_row(facts, ("agent", task.spec.agent))
    add_row(facts, ("directive", task.spec.initial_directive))
    for name in ("parent_task_id", "suspended_on", "labels", "retry", "last_result", "created_at", "updated_at"):
        if about[name] not in (None, [], {}):
            add_row(facts, (name.removesuffix("_id").replace("_", " "), short(about[name], 2000)))
    if own := usage_text(used.own):
        add_row(facts, ("used", own))
    if used.tasks and (total := usage_text(used.total)):
        count = "10,000 of the" if not used.complete else used.tasks
        below = f"{count} task{'' if used.tasks == 1 else 's'} below it"
        add_row(facts, ("used in all", f"{total}, with {below}"))
    console.print(facts)
    more = ("used",) if any(one.usage for one in attempts) else ()
    tries = table("attempt", "state", "spawner", "worker", "outcome", *more, "detail")
    for one in attempts:
        state = one.phase if one.status == "live" else "ended"
        final = "(long)" if one.final and one.final.value is None and one.cut else one.final and one.final.value
        detail = short(one.detail or (final if one.final else ""), 60)
        spawner = short(" ".join(str(value) for value in one.spawner.values()), 40)
        cells = (one.attempt, state, spawner, one.worker_id or "", one.outcome or "")
        add_row(tries, (*cells, *([_used_by(one)] if more else []), detail))
    if attempts:
        console.print(tries)
    for output in outputs:
        said = output.as_json(exclude={"type", "at", "seq", "task_id", "attempt", "cut"})
        console.print(Text.assemble((f"{output.type:<9}", "bold"), short(said, 2000)), soft_wrap=True)


def _used_by(attempt: Attempt) -> str:
    if attempt.usage is None:
        return ""
    models = ", ".join(one.model for one in attempt.usage.models if one.model)
    return usage_text(attempt.usage) + (f" ({short(models, 40)})" if models else "")


@tasks.command()
@calls_server()
def watch(
    endpoint: Endpoint,
    task_id: Annotated[str | None, typer.Argument(help="Watch this task until it is done; by default all.")] = None,
    status: OfStatus = None,
    agent: OfAgent = None,
    label: OfLabel = None,
    as_json: AsJson = False,
) -> None:
    """Watch one task to its end, or the list of all until Ctrl-C. With --json, each change is a line."""
    from app.cli.task_watch import watch_many, watch_one

    named = filter_of(label)

    async def call() -> Task | None:
        async with reader_session(endpoint) as seat:
            if task_id is not None:
                return await watch_one(seat, task_id, as_json=as_json)
            await watch_many(seat, status=status, agent=agent, label=named, as_json=as_json)
            return None

    finished = run_call(call)
    if finished is not None and finished.status is not Status.PASS:
        raise typer.Exit(1)


@tasks.command()
@calls_server()
def why(endpoint: Endpoint, task_id: TaskId, as_json: AsJson = False) -> None:
    """Say what a task waits for, nearest first."""

    found: dict[str, Any] = call_in(reader_session(endpoint), lambda seat: seat.why(task_id)).as_json()
    if as_json:
        print_json(found)
        return
    console.print(Text(inert(found["summary"]), style="bold"), soft_wrap=True)
    for link in found["chain"]:
        more = {
            name: value for name, value in link.items() if name not in ("kind", "detail") and value not in (None, [])
        }
        rest = "  ".join(f"{name.replace('_', ' ')}: {short(value)}" for name, value in more.items())
        console.print(
            Text.assemble((f"  {link['kind']}: ", "bold"), inert(link["detail"]), ("  " + rest, "dim")), soft_wrap=True
        )


for action in (retry, dispatch, mark, cancel):
    tasks.command()(action)
