"""`swarmhold hook`: the command that a coding agent's hook runs, and the settings file that names it."""

from __future__ import annotations

import json
import sys
from contextlib import suppress
from http.client import HTTPConnection, HTTPException, HTTPSConnection
from pathlib import Path
from typing import Annotated, Any, cast
from urllib.parse import SplitResult, urlsplit

import typer

from app.cli.agents import AGENTS, Agent, agent_of
from app.cli.credential import AgentUrl, credential
from app.cli.endpoint import AsJson
from app.cli.exits import EXIT_MISUSED, CommandFailed

_SPARE_S = 5.0
"""Seconds of the timeout kept for sending the request and receiving the reply."""
_LONGEST_EVENT = 8 * 1024 * 1024

hook = typer.Typer(
    help="Let Claude Code or Codex ask before it uses a tool, by its hooks.",
    rich_markup_mode=None,
    no_args_is_help=True,
)

Timeout = Annotated[float, typer.Option("--timeout", help="Seconds until the tool is denied.", min=1, max=172_800)]
HoldFor = Annotated[
    float | None,
    typer.Option("--hold", help="Seconds to wait for an answer before Claude Code defers.", min=0),
]


class _Denied(Exception):
    """The tool is denied, and why."""


def _command(agent: Agent) -> None:
    def run(
        url: AgentUrl = "http://127.0.0.1:7777", timeout: Timeout = 55.0, hold: HoldFor = None, as_json: AsJson = False
    ) -> None:
        del as_json  # the reply is JSON anyway
        try:
            sys.stdout.write(_said(agent, url, timeout, hold))
            sys.stdout.flush()
        except BaseException as error:
            # Only this status keeps the agent from using the tool; any other failure would let it.
            sys.stderr.write(f"swarmhold denied this: {_why(error)}\n")
            sys.stderr.flush()
            raise typer.Exit(EXIT_MISUSED) from error

    run.__doc__ = f"Answer a hook of {agent.title}: the event on standard input, the reply on standard output."
    hook.command(agent.name, help=f"{run.__doc__} Any failure is status 2, which denies the tool.")(run)


for _agent in AGENTS.values():
    _command(_agent)


@hook.command()
def install(
    agent: Annotated[str, typer.Argument(help="claude or codex.")],
    project: Annotated[bool, typer.Option("--project", help="For this directory's project alone.")] = False,
    as_json: AsJson = False,
) -> None:
    """Write the hook into the agent's settings file; what stands there stays. Doing it again changes nothing."""
    from app.cli.hook_files import install as install_file

    done = install_file(agent_of(agent), Path.cwd() if project else None)
    print(json.dumps({"done": done}) if as_json else done)


def _said(agent: Agent, url: str, timeout: float, hold: float | None) -> str:
    """Return what the server says to the event on standard input. Raises whatever goes wrong."""
    event = _event()
    defers = event.get("hook_event_name") == "PreToolUse"
    held = hold if hold is not None else 0.0 if defers else max(0.0, timeout - _SPARE_S)
    said = _call(_server(url), agent, event, min(held, max(0.0, timeout - _SPARE_S)), timeout)
    if not said:
        raise _Denied("nobody answered in time. The question stays open; ask again later")
    return json.dumps(said)


def _event() -> dict[str, Any]:
    text = sys.stdin.buffer.read(_LONGEST_EVENT + 1)
    if len(text) > _LONGEST_EVENT:
        raise _Denied("the event is longer than 8 MiB")
    try:
        event = json.loads(text)
    except ValueError:
        raise _Denied("standard input holds no JSON; the agent's hook writes its event there") from None
    if not isinstance(event, dict):
        raise _Denied("the event on standard input is not an object")
    return cast("dict[str, Any]", event)


def _server(url: str) -> SplitResult:
    with suppress(ValueError):
        server = urlsplit(url)
        if server.scheme in ("http", "https") and server.hostname and server.port != 0:
            return server
    raise _Denied(f"SWARMHOLD_URL is written as http://host:port, and {url!r} is not")


def _call(server: SplitResult, agent: Agent, event: dict[str, Any], hold: float, timeout: float) -> dict[str, Any]:
    connection = _connection(server, timeout)
    try:
        connection.request(
            "POST",
            f"{server.path.rstrip('/')}{agent.path}?hold={hold}",
            json.dumps(event).encode(),
            {"Authorization": f"Bearer {credential()}", "Content-Type": "application/json"},
        )
        reply = connection.getresponse()
        content = reply.read()
    finally:
        connection.close()
    if reply.status != 200:
        raise _Denied(f"the server answered {reply.status}: {content.decode(errors='replace')[:500]}")
    said = json.loads(content)
    if not isinstance(said, dict) or (said and "hookSpecificOutput" not in said):
        raise _Denied("the reply is not that of a swarmhold server")
    return cast("dict[str, Any]", said)


def _connection(server: SplitResult, timeout: float) -> HTTPConnection:
    """Return a connection to be opened. An agent runs this for each use of a tool: httpx takes longer than the call."""
    host = server.hostname or ""
    if server.scheme == "http":
        return HTTPConnection(host, server.port, timeout=timeout)
    from httpx import create_ssl_context  # with the authorities that every other command trusts

    return HTTPSConnection(host, server.port, timeout=timeout, context=create_ssl_context(trust_env=False))


def _why(error: BaseException) -> str:
    if isinstance(error, _Denied | CommandFailed):
        return str(error)
    if isinstance(error, TimeoutError):
        return "the server did not answer in time"
    if isinstance(error, OSError | HTTPException):
        return f"the server cannot be reached ({type(error).__name__}). Is it running, and SWARMHOLD_URL right?"
    return f"{type(error).__name__}"
