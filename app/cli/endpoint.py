"""The options that commands share, and from them the settings and the server to call."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable, Coroutine
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Annotated, Any, TypeVar

import typer

from app.bootstrap import pidfile
from app.bootstrap.keyring import given_root_key
from app.cli.exits import EXIT_MISUSED, CommandFailed
from app.cli.output import errors
from app.config import Loaded, Settings, load
from swarmhold.call_retry import CallRetry
from swarmhold.client import SwarmholdClient
from swarmhold.errors import ApiProblem, Error, InvalidArgument

R = TypeVar("R")

DataDir = Annotated[Path | None, typer.Option("--data-dir", help="The server's data directory (./data).")]
DatabaseUrl = Annotated[str | None, typer.Option("--database-url", help="The server's database.")]
ConfigFile = Annotated[Path | None, typer.Option("--config", help="A TOML file of settings.")]
Url = Annotated[str | None, typer.Option("--url", envvar="SWARMHOLD_URL", help="The server; by default the one here.")]
Key = Annotated[
    str | None,
    # The value is in nobody's history or list of processes when it comes from the environment.
    typer.Option("--key", envvar="SWARMHOLD_KEY", help="An API key; by default the root key of the data directory."),
]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON, for scripts.")]

CALL_RETRY = CallRetry(timeout=timedelta(seconds=5))


def settings_of(
    *, data_dir: Path | None = None, database_url: str | None = None, config: Path | None = None
) -> Settings:
    """Return the settings of a server that is started with these options. Raises ConfigurationError.

    Warns on standard error of settings that are given by an old name.
    """
    found = loaded(data_dir=data_dir, database_url=database_url, config=config)
    for warning in found.warnings:
        errors.print(warning, style="yellow", soft_wrap=True)
    return found.settings


def loaded(*, data_dir: Path | None = None, database_url: str | None = None, config: Path | None = None) -> Loaded:
    """Return those settings with their origins. Raises ConfigurationError."""
    return load(flags={"data_dir": data_dir, "database_url": database_url}, file=config)


@dataclass(frozen=True, slots=True, kw_only=True)
class Endpoint:
    """A server and the API key to call it with."""

    url: str
    key: str

    @asynccontextmanager
    async def connect(self, *, call_retry: CallRetry = CALL_RETRY) -> AsyncGenerator[SwarmholdClient]:
        """Yield a client of the server."""
        async with SwarmholdClient(self.url, call_retry=call_retry) as server:
            yield server


def find_endpoint(settings: Settings, *, url: str | None = None, key: str | None = None) -> Endpoint:
    """Return the server at `url`, or the one that runs with these settings. Raises CommandFailed, StartFailed."""
    if url and not url.startswith(("http://", "https://")):
        raise CommandFailed(f"A server's URL is written as http://host:port, and {url!r} is not.", status=EXIT_MISUSED)
    root = None if key else given_root_key(settings)
    if not key and root is None:
        raise CommandFailed(
            f"There is no key to call the server with: {settings.root_key_path} does not exist. Name the server's data "
            "directory with --data-dir, or set SWARMHOLD_KEY to an API key.",
            status=EXIT_MISUSED,
        )
    here = pidfile.find_server(settings.data_dir)
    return Endpoint(
        url=(url or (here.url if here else settings.url())).rstrip("/"), key=key or (root.text if root else "")
    )


def endpoint_of(url: str | None, key: str | None, data_dir: Path | None, config: Path | None) -> Endpoint:
    """Return the server that a command's options name. Raises CommandFailed, ConfigurationError, StartFailed."""
    return find_endpoint(settings_of(data_dir=data_dir, config=config), url=url, key=key)


def run_call(call: Callable[[], Coroutine[Any, Any, R]]) -> R:
    """Run a call of a server; its error responses become CommandFailed, as readable messages."""
    try:
        return asyncio.run(call())
    except ApiProblem as problem:
        raise CommandFailed(_readable(problem)) from problem
    except InvalidArgument as error:
        raise CommandFailed(f"The server would not accept this: {error}.", status=EXIT_MISUSED) from error
    except Error as error:
        raise CommandFailed(f"The server cannot be reached: {error}. Is it running? Name it with --url.") from error


def _readable(problem: ApiProblem) -> str:
    if problem.status == 401:
        return "The server does not accept this key. Name another with SWARMHOLD_KEY, or the right --data-dir."
    return f"{problem.detail or problem.title} ({problem.code})"
