"""`swarmhold loop`: pause dispatching, resume it, and show whether it is paused."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Annotated, Any

import typer
from rich.text import Text

from app.cli.endpoint import AsJson, ConfigFile, DataDir, Endpoint, InNamespace, Key, Url, endpoint_of, run_call
from app.cli.output import console, inert, print_json
from app.cli.sessions import senior_session
from swarmhold.admin import Admin
from swarmhold.models.server import LoopState, LoopSwitch
from swarmhold.senior import Senior

loop = typer.Typer(help="Pause dispatching, resume it, and show whether it is paused.", no_args_is_help=True)

Everywhere = Annotated[bool, typer.Option("--all", help="All namespaces; needs the root key.")]


@loop.command()
def show(
    as_json: AsJson = False,
    url: Url = None,
    key: Key = None,
    data_dir: DataDir = None,
    config: ConfigFile = None,
    namespace: InNamespace = None,
) -> None:
    """Show whether dispatching is paused, by whom and since when."""
    endpoint = endpoint_of(url, key, data_dir, config, namespace)
    _print(_as_senior(endpoint, lambda senior: senior.loop()), as_json=as_json)


@loop.command()
def pause(
    everywhere: Everywhere = False,
    as_json: AsJson = False,
    url: Url = None,
    key: Key = None,
    data_dir: DataDir = None,
    config: ConfigFile = None,
    namespace: InNamespace = None,
) -> None:
    """Pause dispatching: no new attempt starts until `resume`; what runs goes on."""
    endpoint = endpoint_of(url, key, data_dir, config, namespace)
    if everywhere:
        _print(_as_admin(endpoint, lambda admin: admin.pause_loop()), as_json=as_json)
    else:
        _print(_as_senior(endpoint, lambda senior: senior.pause_loop()), as_json=as_json)


@loop.command()
def resume(
    everywhere: Everywhere = False,
    as_json: AsJson = False,
    url: Url = None,
    key: Key = None,
    data_dir: DataDir = None,
    config: ConfigFile = None,
    namespace: InNamespace = None,
) -> None:
    """Resume dispatching: what waited starts."""
    endpoint = endpoint_of(url, key, data_dir, config, namespace)
    if everywhere:
        _print(_as_admin(endpoint, lambda admin: admin.resume_loop()), as_json=as_json)
    else:
        _print(_as_senior(endpoint, lambda senior: senior.resume_loop()), as_json=as_json)


def _as_senior(endpoint: Endpoint, call: Callable[[Senior], Awaitable[LoopState]]) -> LoopState:
    async def run() -> LoopState:
        async with senior_session(endpoint, quiet=True) as senior:
            return await call(senior)

    return run_call(run)


def _as_admin(endpoint: Endpoint, call: Callable[[Admin], Awaitable[LoopSwitch]]) -> LoopSwitch:
    async def run() -> LoopSwitch:
        async with endpoint.connect() as server:
            return await call(server.admin(endpoint.key))

    return run_call(run)


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
