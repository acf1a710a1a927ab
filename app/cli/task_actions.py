"""`swarmhold tasks retry`, `dispatch`, `mark` and `cancel`: what an operator does about tasks."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Literal

import typer
from rich.text import Text

from app.cli.dispatching import (
    External,
    Function,
    Layers,
    Program,
    Queue,
    SpawnerText,
    announce,
    spawner_from,
    spawner_of,
)
from app.cli.endpoint import AsJson, Endpoint, calls_server
from app.cli.exits import EXIT_MISUSED, CommandFailed
from app.cli.labels import OfLabel, labels_of
from app.cli.output import console, inert, print_json
from app.cli.sessions import call_in, operator_session
from swarmhold.models.numbers import decode

if TYPE_CHECKING:
    from swarmhold.models.attempts import Dispatched
    from swarmhold.models.tasks import Task, TasksChanged, TaskSelection
    from swarmhold.operator import Operator

TaskId = Annotated[str, typer.Argument(help="The task's id, T-…")]
OneOrNone = Annotated[str | None, typer.Argument(help="The task's id, T-…; or name tasks with --label.")]
Reason = Annotated[str | None, typer.Option("--reason", help="The reason; kept with the event.")]
Verdict = Annotated[Literal["pass", "blocked"], typer.Argument(help="pass or blocked.")]
ValueText = Annotated[str | None, typer.Option("--value", help="The new result: JSON, or any other text as it is.")]


@calls_server()
def retry(endpoint: Endpoint, task_id: OneOrNone = None, label: OfLabel = None, as_json: AsJson = False) -> None:
    """Dispatch a task again as its last attempt was; with --label every blocked task that has the labels."""
    selection = _selection(task_id, label)
    if selection is not None:
        _report_many(
            call_in(operator_session(endpoint), lambda one: one.retry_tasks(selection)), "retried", as_json=as_json
        )
        return
    announce(call_in(operator_session(endpoint), lambda one: _retry(one, task_id or "")), as_json=as_json, waits=False)


async def _retry(operator: Operator, task_id: str) -> Dispatched:
    task = await operator.task(task_id)
    if not task.attempt:
        raise CommandFailed(f"{task_id} has had no attempt. Start one with `swarmhold tasks dispatch`.")
    last = await operator.attempt(task_id, task.attempt)
    return await operator.dispatch(task_id, spawner_from(last.spawner), layers=last.layers)


@calls_server()
def dispatch(
    endpoint: Endpoint,
    task_id: TaskId,
    queue: Queue = None,
    program: Program = None,
    function: Function = None,
    external: External = False,
    spawner: SpawnerText = None,
    layer: Layers = None,
    as_json: AsJson = False,
) -> None:
    """Start an attempt of a task, and do not wait for it."""
    chosen = spawner_of(queue=queue, program=program, function=function, external=external, text=spawner)
    if chosen is None:
        raise CommandFailed(
            "Name who is to do it: --queue, --program, --function, --external or --spawner.", status=EXIT_MISUSED
        )
    dispatched = call_in(operator_session(endpoint), lambda one: one.dispatch(task_id, chosen, layers=layer or ()))
    announce(dispatched, as_json=as_json, waits=False)


@calls_server()
def mark(
    endpoint: Endpoint, task_id: TaskId, verdict: Verdict, value: ValueText = None, as_json: AsJson = False
) -> None:
    """Mark a task pass or blocked; a live attempt is ended. Without --value its last result stays."""
    result = () if value is None else (_json_or_text(value),)

    _report(
        call_in(operator_session(endpoint), lambda one: one.mark(task_id, ok=verdict == "pass", value=result)),
        as_json=as_json,
    )


@calls_server()
def cancel(
    endpoint: Endpoint, task_id: OneOrNone = None, label: OfLabel = None, reason: Reason = None, as_json: AsJson = False
) -> None:
    """Cancel a task, its worker, its questions and its child tasks; with --label every task that has the labels."""
    selection = _selection(task_id, label)
    if selection is None:
        _report(
            call_in(operator_session(endpoint), lambda one: one.cancel(task_id or "", reason=reason)), as_json=as_json
        )
        return
    changed = call_in(operator_session(endpoint), lambda one: one.cancel_tasks(selection, reason=reason))
    _report_many(changed, "cancelled", as_json=as_json)


def _selection(task_id: str | None, label: list[str] | None) -> TaskSelection | None:
    """Return the tasks with these labels, None for the one task. Raises CommandFailed for neither and for both."""
    if (task_id is None) is not bool(label):
        raise CommandFailed("Name one task, or tasks with --label name=value.", status=EXIT_MISUSED)
    from swarmhold.models.tasks import TaskSelection

    return TaskSelection(labels=labels_of(label)) if label else None


def _report(task: Task, *, as_json: bool) -> None:
    if as_json:
        print_json(task.as_json())
    else:
        print(f"{task.id} is {task.status}.")


def _report_many(changed: TasksChanged, what: str, *, as_json: bool) -> None:
    if as_json:
        print_json(changed.as_json())
        return
    print(f"{changed.count} {what}, {changed.skipped} left.")
    for left in changed.reasons:
        console.print(Text(inert(f"  {left.task_id}: {left.detail}")), soft_wrap=True)


def _json_or_text(text: str) -> object:
    try:
        return decode(text)
    except ValueError:
        return text
