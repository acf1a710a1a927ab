"""`swarmhold resume`: start a coding agent again when the question that its session waits for is answered."""

from __future__ import annotations

import asyncio
import json
import os
import re
from collections.abc import Sequence
from contextlib import aclosing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

import typer

from app.cli.agents import Agent, agent_of
from app.cli.credential import AgentUrl, credential
from app.cli.endpoint import AsJson, Endpoint, run_call
from app.cli.exits import EXIT_MISUSED, CommandFailed
from app.cli.output import errors
from app.cli.sessions import key_session
from swarmhold.models.events import Event
from swarmhold.operator import Operator

PLACEHOLDER = "{session_id}"
_KINDS = ("senior_answered",)
# It becomes an argument of a command: what looks like an option must not get there.
_SESSION = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:-]{0,199}")

StateFile = Annotated[
    Path | None, typer.Option("--state", help="The file of the feed's cursor (~/.local/state/swarmhold/resume-….json).")
]


def resume(
    command: Annotated[list[str], typer.Argument(help="The command, with {session_id} in it, after `--`.")],
    url: AgentUrl = "http://127.0.0.1:7777",
    agent: Annotated[str, typer.Option("--agent", help="claude or codex.")] = "claude",
    state: StateFile = None,
    as_json: AsJson = False,
) -> None:
    """Start a command for each answer to a question that an agent asked by its hook, until Ctrl-C.

    One at a time for each session, and at least once: where it was interrupted it starts again.
    """
    if not any(PLACEHOLDER in word for word in command):
        raise CommandFailed(f"The command has no {PLACEHOLDER}, so that no session could go on.", status=EXIT_MISUSED)
    found = agent_of(agent)
    file = state or _state_folder() / f"resume-{found.name}.json"
    endpoint = Endpoint(url=url.rstrip("/"), key=credential("SWARMHOLD_KEY"))

    async def call() -> None:
        async with key_session(endpoint) as operator:
            await _Follower(operator, found, command, Cursor(file), as_json=as_json).run()

    run_call(call)


def _state_folder() -> Path:
    return Path(os.environ.get("XDG_STATE_HOME") or Path.home() / ".local" / "state") / "swarmhold"


@dataclass(slots=True)
class Cursor:
    """The cursor up to which everything is done, in a file; events may be done in any order."""

    path: Path
    _open: dict[int | str, bool] = field(default_factory=dict[int | str, bool])

    def read(self) -> int | str | None:
        """Return the cursor, None without a file. Raises CommandFailed."""
        try:
            found: Any = json.loads(self.path.read_bytes())["after"]
        except FileNotFoundError:
            return None
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise CommandFailed(f"{self.path} has no cursor; remove it to begin with the next answer.") from error
        return found if isinstance(found, int | str) else None

    def begin(self, cursor: int | str) -> None:
        """Note an event, in the order of the feed."""
        self._open[cursor] = False

    def end(self, cursor: int | str) -> None:
        """Note that an event is done, and save the cursor before the first that is not. Raises OSError."""
        self._open[cursor] = True
        last = None
        for one, done in list(self._open.items()):
            if not done:
                break
            last = one
            del self._open[one]
        if last is not None:
            self._save(last)

    def _save(self, cursor: int | str) -> None:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        beside = self.path.with_name(f".{self.path.name}.{os.getpid()}")
        beside.write_text(json.dumps({"after": cursor}) + "\n")
        beside.replace(self.path)


class _Follower:
    """Starts the command for answers, each session's in their order."""

    def __init__(
        self, operator: Operator, agent: Agent, command: Sequence[str], cursor: Cursor, *, as_json: bool
    ) -> None:
        self._operator = operator
        self._agent = agent
        self._command = command
        self._cursor = cursor
        self._as_json = as_json
        self._turns: dict[str, asyncio.Lock] = {}

    async def run(self) -> None:
        """Follow the feed for ever. Raises CommandFailed when the command cannot be started."""
        feed = self._operator.events(after=self._cursor.read(), types=_KINDS)
        try:
            async with aclosing(feed), asyncio.TaskGroup() as group:
                async for event in feed:
                    if isinstance(event, Event):
                        self._cursor.begin(event.cursor)
                        session = await self._session_of(event)
                        if session is None:
                            self._cursor.end(event.cursor)
                        else:
                            group.create_task(self._resume(event, session))
        except* CommandFailed as failed:
            raise failed.exceptions[0] from None

    async def _session_of(self, event: Event) -> str | None:
        """Return the agent's session that waited for the answer, None when none of this agent did."""
        task = await self._operator.task(event.task_id or "")
        if task.labels.get("harness") != self._agent.harness:
            return None
        session = task.labels.get("harness-session", "")
        return session if _SESSION.fullmatch(session) else None

    async def _resume(self, event: Event, session: str) -> None:
        async with self._turns.setdefault(session, asyncio.Lock()):
            words = [word.replace(PLACEHOLDER, session) for word in self._command]
            try:
                # The key of this command stays in its environment: the agent's hook needs it.
                program = await asyncio.create_subprocess_exec(*words, stdin=asyncio.subprocess.DEVNULL)
            except OSError as error:
                raise CommandFailed(f"{words[0]} cannot be started: {error}.") from error
            status = await program.wait()
            if self._as_json:
                print(json.dumps({"session_id": session, "status": status}), flush=True)
            elif status:
                errors.print(f"{words[0]} ended with status {status} for session {session}.", soft_wrap=True)
        self._cursor.end(event.cursor)
