"""`swarmhold senior`: show questions as they arrive, and answer them at the terminal."""

from __future__ import annotations

import asyncio
from collections import deque
from contextlib import suppress
from typing import Annotated, Any

import typer
from rich.text import Text

from app.cli.answer_fields import Field, InvalidAnswer, assemble, decoded, fields_of, is_dangerous, left_out
from app.cli.endpoint import AsJson, Endpoint, calls_server, run_call
from app.cli.exits import CommandFailed
from app.cli.output import console, document, inert, literal, print_json, to_seconds
from app.cli.sessions import senior_session, user
from app.cli.stdin_lines import StdinLines
from swarmhold.console import Console
from swarmhold.errors import AnswerRejected
from swarmhold.models.enums import QuestionStatus
from swarmhold.models.frames import Ask
from swarmhold.models.numbers import decode
from swarmhold.models.questions import Question
from swarmhold.senior import Senior

CHECK_INTERVAL_S = 0.3
"""How often a shown question is checked for an answer by somebody else."""
HELP = "  :s puts it off   :w says why the task waits   := JSON answers with any JSON   :q ends"

Bridge = Annotated[str | None, typer.Option("--bridge", help="The bridge id to register under.")]


class Quit(Exception):
    """The senior ends the command."""


class Skip(Exception):
    """The senior puts the question off."""


class Gone(Exception):
    """The question is no longer open."""


@calls_server()
def senior(endpoint: Endpoint, bridge: Bridge = None, as_json: AsJson = False) -> None:
    """Answer questions as they arrive, until Ctrl-C or :q.

    With --json every question is a line on standard output, and every line of standard input,
    {"key": …, "value": …, "comment": …}, an answer; each gets a line {"accepted": key} or
    {"rejected": key, "code": …, "detail": …}.
    """
    bridge_id = bridge or f"terminal-{user()}"

    async def call() -> None:
        async with senior_session(endpoint) as seat, seat.console(bridge_id) as desk:
            with StdinLines() as lines:
                if as_json:
                    await _pipe(desk, lines)
                    return
                console.print(f"Sitting at {bridge_id}. Questions appear here. {HELP.strip()}", soft_wrap=True)
                with suppress(Quit):
                    await AnsweringSession(seat, desk, lines).run()

    run_call(call)


def _how_it_ended(question: Question) -> str:
    """Return who answered a question and through what, or that nobody waits for it any more."""
    through = question.answered_through
    if question.status is not QuestionStatus.ANSWERED:
        return "Nobody waits for an answer any more."
    if through is not None and through.door == "deadline":
        return "Nobody answered in time: its default is the answer."
    who = inert(question.answered_by or "Somebody else", lines=False)
    if through is None or through.key_name is None:
        return f"{who} answered it."
    return f"{who} answered it, through {through.door} with the key {inert(through.key_name, lines=False)}."


class AnsweringSession:
    """One senior who answers questions at a console."""

    def __init__(self, seat: Senior, desk: Console, lines: StdinLines) -> None:
        self._seat = seat
        self._desk = desk
        self._lines = lines
        self._put_off: deque[Ask] = deque()

    async def run(self) -> None:
        """Ask for answers until the senior ends the command. Raises Quit."""
        while True:
            ask = await self._next()
            try:
                await self._ask(ask)
            except Skip:
                self._put_off.append(ask)
            except Gone:
                console.print(Text(f"  {_how_it_ended(await self._seat.question(ask.key))}", style="yellow"))

    async def _next(self) -> Ask:
        """Return the next question; an empty line brings back one that was put off. Raises Quit."""
        while True:
            asking = asyncio.create_task(self._desk.next_ask())
            typing = asyncio.create_task(self._lines.next())
            try:
                await asyncio.wait({asking, typing}, return_when=asyncio.FIRST_COMPLETED)
                if asking.done():
                    if typing.done():
                        self._lines.put_back(typing.result())
                    return asking.result()
                line = typing.result()
            finally:
                for task in (asking, typing):
                    task.cancel()
                await asyncio.gather(asking, typing, return_exceptions=True)
            if line is None or line.strip() == ":q":
                raise Quit
            if self._put_off:
                return self._put_off.popleft()
            console.print(Text("  Nothing is open.", style="dim"))

    async def _ask(self, ask: Ask) -> None:
        """Show a question, and ask for an answer until one is accepted. Raises Skip, Gone, Quit."""
        self._show(ask)
        fields = fields_of(ask.choices, ask.answer_schema)
        while True:
            value = await self._fill(ask, fields)
            if not await self._confirms(ask, fields, value):
                continue
            comment = await self._comment(ask)
            try:
                await self._desk.answer(ask.key, value, comment=comment)
            except AnswerRejected as rejected:
                console.print(Text(f"  {inert(rejected.detail)}", style="red"), soft_wrap=True)
                if rejected.code != "answer-invalid":
                    return
                continue
            console.print(Text("  Answered.", style="green"))
            return

    def _show(self, ask: Ask) -> None:
        asked_at = to_seconds(ask.as_json()["asked_at"])
        console.print()
        head = f"{ask.agent} asks ({ask.task_id}, attempt {ask.attempt}, {asked_at})"
        console.print(Text(inert(head, lines=False), style="bold"), soft_wrap=True)
        if ask.title:
            console.print(Text(f"  {inert(ask.title, lines=False)}", style="bold"), soft_wrap=True)
        question = ask.question
        text = question if isinstance(question, str) else document(question, indent=True)
        for line in inert(text).splitlines():
            console.print(Text(f"  {line}"), soft_wrap=True)
        if ask.action is not None:
            console.print(Text(f"  wants to do ({ask.action_digest}):", style="bold"), soft_wrap=True)
            for line in inert(document(ask.action, indent=True)).splitlines():
                console.print(Text(f"  {line}"), soft_wrap=True)
        waiting = len(self._desk.open) - 1
        if waiting > 0:
            console.print(Text(f"  ({waiting} more wait)", style="dim"))

    async def _fill(self, ask: Ask, fields: list[Field]) -> Any:
        """Read the answer, field by field. Raises Skip, Gone, Quit."""
        values: list[tuple[Any, ...]] = []
        for field in fields:
            for number, option in enumerate(field.options or (), 1):
                console.print(Text.assemble((f"  {number}", "bold cyan"), f"  {option}"), soft_wrap=True)
            optional = "" if field.required else ", or nothing"
            while True:
                line = await self._line(ask, f"  {field.title} [{field.hint}{optional}] > ")
                if line.startswith(":="):
                    with_json = _try(decoded, line[2:])
                    if with_json is not None:
                        return with_json[0]
                    continue
                if not field.required and not line.strip():
                    values.append(())
                    break
                value = _try(field.read, line)
                if value is not None:
                    values.append(value)
                    break
        return assemble(fields, values)

    async def _confirms(self, ask: Ask, fields: list[Field], value: Any) -> bool:
        """Show the JSON that will be sent, and return whether the senior sends it. Raises Skip, Gone, Quit."""
        console.print(Text("  This will be sent:", style="bold"))
        for line in literal(value, indent=True).splitlines():
            console.print(Text(f"    {line}"), soft_wrap=True)
        if missing := left_out(fields, value):
            names = ", ".join(inert(name, lines=False) for name in missing)
            console.print(Text(f"  Not touched by you, and not sent: {names}", style="dim"), soft_wrap=True)
        if is_dangerous(fields, value):
            line = await self._line(ask, "  The asker calls this dangerous. yes sends it, anything else changes it > ")
            return line.strip().lower() == "yes"
        return (await self._line(ask, "  Enter sends it, n changes it > ")).strip().lower() in ("", "y", "yes")

    async def _comment(self, ask: Ask) -> str | None:
        """Read the comment that goes with an answer where the asker allows one. Raises Skip, Gone, Quit."""
        if not ask.comment:
            return None
        return (await self._line(ask, "  comment [text, or nothing] > ")).strip() or None

    async def _line(self, ask: Ask, prompt: str) -> str:
        """Read a line, and run those that are commands. Raises Skip, Gone, Quit."""
        while True:
            console.print(Text(prompt), end="", soft_wrap=True)
            line = await self._typed(ask)
            match line.strip():
                case ":q":
                    raise Quit
                case ":s":
                    raise Skip
                case ":w":
                    console.print(Text(f"  {inert((await self._seat.why(ask.task_id)).summary)}"), soft_wrap=True)
                case ":h" | ":help" | "?":
                    console.print(Text(HELP))
                case _:
                    return line

    async def _typed(self, ask: Ask) -> str:
        typing = asyncio.create_task(self._lines.next())
        try:
            while not typing.done():
                await asyncio.wait({typing}, timeout=CHECK_INTERVAL_S)
                if not typing.done() and all(other.key != ask.key for other in self._desk.open):
                    console.print()
                    raise Gone
            line = typing.result()
        finally:
            typing.cancel()
            await asyncio.gather(typing, return_exceptions=True)
        if line is None:
            console.print()
            raise Quit
        return line


def _try(read: Any, line: str) -> tuple[Any] | None:
    """Return the parsed line in a 1-tuple, or None after printing what is wrong with it."""
    try:
        return (read(line),)
    except InvalidAnswer as wrong:
        console.print(Text(f"  {wrong}", style="red"), soft_wrap=True)
        return None


async def _pipe(desk: Console, lines: StdinLines) -> None:
    """Print questions and read answers, one JSON line each, until standard input ends."""

    async def ask() -> None:
        async for asked in desk:
            print_json(asked.as_json(), indent=False)

    asking = asyncio.create_task(ask(), name="print questions")
    try:
        while (line := await lines.next()) is not None:
            if line.strip():
                print_json(await _answer(desk, line), indent=False)
    finally:
        asking.cancel()
        await asyncio.gather(asking, return_exceptions=True)


async def _answer(desk: Console, line: str) -> dict[str, Any]:
    try:
        given: Any = decode(line)
        key, value, comment = str(given["key"]), given["value"], given.get("comment")
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise CommandFailed(f'An answer is a line {{"key": …, "value": …}}: {error}') from error
    try:
        await desk.answer(key, value, comment=comment)
    except AnswerRejected as rejected:
        return {"rejected": key, "code": rejected.code, "detail": rejected.detail}
    return {"accepted": key}
