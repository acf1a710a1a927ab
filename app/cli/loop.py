"""`swarmhold loop`: pause dispatching, resume it, and show whether it is paused."""

from __future__ import annotations

from contextlib import AbstractAsyncContextManager
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.text import Text

from app.cli.endpoint import AsJson, Endpoint, calls_server
from app.cli.output import console, inert, print_json
from app.cli.sessions import admin_calls, call_in, senior_session

if TYPE_CHECKING:
    from swarmhold.admin import Admin
    from swarmhold.models.server import LoopSwitch
    from swarmhold.senior import Senior

loop = typer.Typer(help="Pause dispatching, resume it, and show whether it is paused.", no_args_is_help=True)

Everywhere = Annotated[bool, typer.Option("--all", help="All namespaces; needs the root key.")]


@loop.command()
@calls_server()
def show(endpoint: Endpoint, as_json: AsJson = False) -> None:
    """Show whether dispatching is paused, by whom and since when."""
    _print(call_in(senior_session(endpoint, quiet=True), lambda senior: senior.loop()), as_json=as_json)


@loop.command()
@calls_server()
def pause(endpoint: Endpoint, everywhere: Everywhere = False, as_json: AsJson = False) -> None:
    """Pause dispatching: no new attempt starts until `resume`; what runs goes on."""
    _print(call_in(_switching(endpoint, everywhere), lambda one: one.pause_loop()), as_json=as_json)


@loop.command()
@calls_server()
def resume(endpoint: Endpoint, everywhere: Everywhere = False, as_json: AsJson = False) -> None:
    """Resume dispatching: what waited starts."""
    _print(call_in(_switching(endpoint, everywhere), lambda one: one.resume_loop()), as_json=as_json)


def _switching(
    endpoint: Endpoint, everywhere: bool
) -> AbstractAsyncContextManager[Admin] | AbstractAsyncContextManager[Senior]:
    return admin_calls(endpoint) if everywhere else senior_session(endpoint, quiet=True)


def _print(state: LoopSwitch, *, as_json: bool) -> None:
    shown: dict[str, Any] = state.as_json()
    if as_json:
        print_json(shown)
        return
    console.print(Text(_sentence("Dispatching", shown)), soft_wrap=True)
    if shown.get("all", {}).get("paused"):
        console.print(Text(_sentence("Dispatching in all namespaces", shown["all"])), soft_wrap=True)


def _sentence(what: str, switch: dict[str, Any]) -> str:
    by = f", by {inert(switch['by'], lines=False)} at {switch['since']}" if switch["by"] else ""
    return f"{what} is {'paused' if switch['paused'] else 'on'}{by}."
