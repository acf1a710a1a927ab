"""`swarmhold questions ask`, `withdraw`, `consume` and `outcome`: the asker's side of a question."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Annotated, Any, Literal, cast

import typer
from rich.text import Text

from app.cli.endpoint import AsJson, Endpoint, calls_server
from app.cli.exits import EXIT_MISUSED, CommandFailed
from app.cli.labels import labels_of
from app.cli.output import console, document, inert, print_json
from app.cli.sessions import call_in, operator_session
from swarmhold.models.enums import Decision
from swarmhold.models.numbers import decode

if TYPE_CHECKING:
    from swarmhold.models.questions import Question
    from swarmhold.operator import Operator
    from swarmhold.questions import QuestionOptions

QuestionKey = Annotated[str, typer.Argument(help="The question's key, R-…; `ls` shows it.")]
ActionText = Annotated[
    str | None,
    typer.Option("--action", help="The action, as JSON: {name, arguments, server?}; - reads it from standard input."),
]
Allowed = Annotated[
    list[Decision] | None,
    typer.Option("--allowed", help="A decision about the action that may be given; may be repeated."),
]
Digest = Annotated[str | None, typer.Option("--digest", help="The action's digest, sha256:…, instead of it.")]
Once = Annotated[str, typer.Option("--once", help="The same text gets the same approval again; no other does.")]
Ending = Annotated[Literal["succeeded", "failed"], typer.Argument(help="succeeded or failed.")]


@calls_server()
def ask(
    endpoint: Endpoint,
    question: Annotated[str, typer.Argument(help="What to ask.")],
    choice: Annotated[list[str] | None, typer.Option("--choice", help="An allowed answer; may be repeated.")] = None,
    action: ActionText = None,
    allowed: Allowed = None,
    title: Annotated[str | None, typer.Option("--title", help="What it is about, in a few words.")] = None,
    label: Annotated[list[str] | None, typer.Option("--label", help="A label, name=value; may be repeated.")] = None,
    once: Annotated[str | None, typer.Option("--once", help="The same text finds the same question again.")] = None,
    wait: Annotated[bool, typer.Option("--wait", help="Wait for the answer, and print it as JSON.")] = False,
    as_json: AsJson = False,
) -> None:
    """Ask a question; a task is made for it, whose result the answer is. It stays open when a waiting command ends.

    With --action it asks for approval of an action, and the answer is a decision about it; `consume` the approval
    before acting.
    """
    options: QuestionOptions = {"choices": choice or None, "title": title, "allowed": allowed or None}
    if action is not None:
        options["action"] = _checked_action(action)

    async def call(operator: Operator) -> tuple[Question, list[Any]]:
        asked = await operator.ask_alone(question, labels=labels_of(label), idempotency_key=once, **options)
        return asked, [await operator.await_answer(asked.key)] if wait else []

    asked, answers = call_in(operator_session(endpoint), call)
    if answers:
        print_json(answers[0])
    else:
        _print(asked, as_json)


def _checked_action(text: str) -> Any:
    from swarmhold.errors import InvalidArgument
    from swarmhold.models.questions import Action

    try:
        return Action(**_object(text))
    except (InvalidArgument, TypeError) as error:
        raise CommandFailed(f"--action is not an action {{name, arguments}}: {error}", status=EXIT_MISUSED) from error


def _object(text: str) -> dict[str, Any]:
    try:
        value = decode(sys.stdin.read() if text == "-" else text)
    except ValueError as error:
        raise CommandFailed(f"--action is not JSON: {error}.", status=EXIT_MISUSED) from error
    if not isinstance(value, dict):
        raise CommandFailed("--action is not a JSON object {name, arguments}.", status=EXIT_MISUSED)
    return cast("dict[str, Any]", value)


@calls_server()
def consume(
    endpoint: Endpoint,
    question: QuestionKey,
    once: Once,
    action: ActionText = None,
    digest: Digest = None,
    as_json: AsJson = False,
) -> None:
    """Consume the approval of an action before carrying it out, exactly once; fails when it must not be carried out.

    Name the action as it will be carried out, edited where the decision edited it. Prints the action as it was
    approved.
    """
    from swarmhold.digests import digest_of

    if (action is None) is (digest is None):
        raise CommandFailed("Name the action that is to be carried out: --action or --digest.", status=EXIT_MISUSED)
    named = digest or digest_of(_object(action or ""))
    found = call_in(
        operator_session(endpoint), lambda operator: operator.consume(question, named, idempotency_key=once)
    ).as_json()
    if as_json:
        print_json(found)
    else:
        console.print(Text(f"{question}: {found['decision']}", style="bold"), soft_wrap=True)
        console.print(Text(inert(document(found["action"], indent=True))), soft_wrap=True)


@calls_server()
def outcome(
    endpoint: Endpoint,
    question: QuestionKey,
    ending: Ending,
    note: Annotated[str | None, typer.Option("--note", help="What came of it, in a few words.")] = None,
    as_json: AsJson = False,
) -> None:
    """Record what came of an action whose approval was consumed. The first outcome stands."""
    succeeded = ending == "succeeded"
    found = call_in(
        operator_session(endpoint), lambda operator: operator.record_outcome(question, succeeded=succeeded, note=note)
    )
    if as_json:
        print_json(found.as_json())
    else:
        console.print(Text(f"{found.key}: {ending}"), soft_wrap=True)


@calls_server()
def withdraw(
    endpoint: Endpoint,
    question: QuestionKey,
    reason: Annotated[str | None, typer.Option("--reason", help="The reason; kept with the question.")] = None,
    as_json: AsJson = False,
) -> None:
    """Withdraw a question. A task that was made for it is cancelled, another one goes on without an answer."""
    _print(call_in(operator_session(endpoint), lambda operator: operator.withdraw(question, reason=reason)), as_json)


def _print(found: Question, as_json: bool) -> None:
    if as_json:
        print_json(found.as_json())
    else:
        console.print(Text(f"{found.key} is {found.status}"), soft_wrap=True)
