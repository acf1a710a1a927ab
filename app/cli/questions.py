"""`swarmhold questions`: ask, list, show, answer and withdraw questions, and links to them, one command each."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.text import Text

from app.cli.answer_fields import InvalidAnswer, decoded, fields_of
from app.cli.asking import QuestionKey, ask, consume, outcome, withdraw
from app.cli.endpoint import AsJson, Endpoint, calls_server, run_call
from app.cli.exits import EXIT_MISUSED, CommandFailed
from app.cli.instants import duration
from app.cli.output import add_row, console, document, inert, print_json, short, table, to_seconds
from app.cli.sessions import call_in, senior_session
from swarmhold.models.enums import Decision, QuestionStatus

if TYPE_CHECKING:
    from swarmhold.models.links import AnswerLink
    from swarmhold.models.questions import Question
    from swarmhold.senior import Senior

questions = typer.Typer(help="Ask, list, show, answer and withdraw questions.", no_args_is_help=True)

OfStatus = Annotated[QuestionStatus, typer.Option("--status", help="Only questions with this status.")]
OfBridge = Annotated[str | None, typer.Option("--bridge", help="Only questions that this bridge is shown.")]
Most = Annotated[int, typer.Option("-n", "--most", help="How many to show at most.", min=1, max=10_000)]
Answer = Annotated[
    str,
    typer.Argument(
        help="A choice or its number, approve or reject, a text, or := and any JSON; - reads JSON from standard input."
    ),
]
Comment = Annotated[str | None, typer.Option("--comment", help="A reason or note, where the asker takes one.")]


@questions.command("list", hidden=True)
@questions.command("ls")
@calls_server()
def list_questions(
    endpoint: Endpoint,
    status: OfStatus = QuestionStatus.OPEN,
    bridge: OfBridge = None,
    most: Most = 50,
    as_json: AsJson = False,
) -> None:
    """List questions, oldest first: by default those that wait for an answer."""

    found = call_in(
        senior_session(endpoint, quiet=True), lambda senior: _first(senior, most, status=status, bridge_id=bridge)
    )
    if as_json:
        print_json([one.as_json() for one in found])
        return
    shown = table("key", "agent", "task", "asked", "question")
    for one in found:
        asked = to_seconds(one.as_json()["asked_at"])
        add_row(shown, (one.key, one.agent, one.task_id, asked, short(one.title or one.question, 80)))
    console.print(shown)


async def _first(senior: Senior, most: int, **filters: Any) -> list[Question]:
    found: list[Question] = []
    cursor: str | None = None
    while len(found) < most:
        page = await senior.questions(cursor=cursor, **filters)
        found += page.items
        cursor = page.next_cursor
        if cursor is None:
            break
    return found[:most]


@questions.command()
@calls_server()
def show(endpoint: Endpoint, question: QuestionKey, as_json: AsJson = False) -> None:
    """Show a question whole: what is asked, what may be answered, and what was."""

    found = call_in(senior_session(endpoint, quiet=True), lambda senior: senior.question(question))
    if as_json:
        print_json(found.as_json())
    else:
        print_question(found)


def print_question(found: Question) -> None:
    """Print a question and its answer for people."""
    facts: dict[str, Any] = found.as_json()
    console.print(Text(f"{found.key} is {found.status}", style="bold"), soft_wrap=True)
    asked = found.question if isinstance(found.question, str) else document(found.question, indent=True)
    for line in inert(asked).splitlines():
        console.print(Text(f"  {line}"), soft_wrap=True)
    if found.action is not None:
        console.print(Text(f"  wants to do ({found.action_digest}):", style="bold"), soft_wrap=True)
        for line in inert(document(found.action, indent=True)).splitlines():
            console.print(Text(f"  {line}"), soft_wrap=True)
    for number, choice in enumerate(found.choices or (), 1):
        console.print(Text(f"  {number}  {short(choice, 200)}"), soft_wrap=True)
    shown = table("", "")
    shown.show_header = False
    names = ("agent", "task_id", "bridge_id", "asked_at", "deadline", "on_deadline", "answer_schema")
    for name in (*names, "answer", "answered_by", "answered_at", "consumed_at", "outcome"):
        if facts.get(name) not in (None, [], {}):
            add_row(shown, (name.removesuffix("_id").replace("_", " "), short(facts[name], 2000)))
    console.print(shown)


@questions.command()
@calls_server()
def answer(
    endpoint: Endpoint, question: QuestionKey, value: Answer, comment: Comment = None, as_json: AsJson = False
) -> None:
    """Answer a question. The first answer wins; one that breaks its schema leaves it open."""
    line = f":={sys.stdin.read()}" if value == "-" else value

    async def call() -> Question:
        async with senior_session(endpoint) as senior:
            asked = await senior.question(question)
            return await senior.answer(question, _answer_of(asked, line), comment=comment)

    answered = run_call(call)
    if as_json:
        print_json(answered.as_json())
    else:
        console.print(Text(f"{answered.key} is answered: {short(answered.answer, 200)}"), soft_wrap=True)


@questions.command()
@calls_server()
def link(
    endpoint: Endpoint,
    question: QuestionKey,
    person: Annotated[str, typer.Option("--person", help="Who is to answer: the name or id of a person's key.")],
    ttl: Annotated[str, typer.Option("--ttl", help="How long it may be used, as 30m or 2d; 7 days at most.")] = "1d",
    allow: Annotated[
        list[str] | None, typer.Option("--allow", help="The only answers that it takes, as `answer` does; repeat it.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Make a link by which a person answers the question without signing in. Its URL is shown only this once.

    The holder of the URL answers as the person: send it to nobody else. It is used up by the answer.
    """
    life = duration(ttl)

    async def call(senior: Senior) -> AnswerLink:
        asked = await senior.question(question)
        some = None if allow is None else [_answer_of(asked, line) for line in allow]
        return await senior.make_link(question, person, ttl=life, allow=some)

    made = call_in(senior_session(endpoint), call)
    if as_json:
        print_json(made.as_json())
    else:
        print(f"{made.id}  until {to_seconds(made.as_json()['expires_at'])}\n{made.url}")


@questions.command()
@calls_server()
def unlink(
    endpoint: Endpoint,
    question: QuestionKey,
    link: Annotated[str, typer.Argument(help="The link's id, L-…; `link` printed it.")],
    as_json: AsJson = False,
) -> None:
    """Revoke a link to a question."""
    call_in(senior_session(endpoint), lambda senior: senior.revoke_link(question, link))
    if as_json:
        print_json({"id": link, "revoked": True})
    else:
        console.print(f"{link} is revoked", soft_wrap=True)


for calls in (ask, withdraw, consume, outcome):
    questions.command()(calls)


def _answer_of(asked: Question, line: str) -> Any:
    """Return the answer that a line stands for. Raises CommandFailed."""
    fields = fields_of(asked.choices, asked.answer_schema)
    try:
        if line.startswith(":="):
            return decoded(line[2:])
        if asked.action is not None:
            return _decision(line)
        if fields[0].name is not None:
            raise InvalidAnswer("write := and a JSON object: its schema has named fields")
        return fields[0].read(line)
    except InvalidAnswer as wrong:
        raise CommandFailed(f"{asked.key} does not take this answer: {wrong}.", status=EXIT_MISUSED) from wrong


def _decision(word: str) -> Any:
    """Return the decision about an action; one that needs more than a word is written as JSON."""
    if word in (Decision.APPROVE, Decision.REJECT):
        return {"decision": word}
    raise InvalidAnswer('write approve or reject, or := and JSON such as {"decision": "reject", "message": "why"}')
