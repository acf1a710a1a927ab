"""The options that commands share, and from them the settings and the server to call."""

from __future__ import annotations

import secrets
from collections.abc import AsyncGenerator, Callable, Coroutine
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from datetime import timedelta
from functools import wraps
from inspect import signature
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Concatenate, TypeVar

import typer

from app.cli.exits import EXIT_MISUSED, CommandFailed

# The client, the settings and what finds a server are loaded when a server is called: help needs none of them.
if TYPE_CHECKING:
    from app.bootstrap.pidfile import RunningServer
    from app.config import Loaded, Settings
    from swarmhold.call_retry import CallRetry
    from swarmhold.client import SwarmholdClient
    from swarmhold.errors import ApiProblem

R = TypeVar("R")

DataDir = Annotated[Path | None, typer.Option("--data-dir", help="The server's data directory (./data).")]
DatabaseUrl = Annotated[str | None, typer.Option("--database-url", help="The server's database.")]
ConfigFile = Annotated[Path | None, typer.Option("--config", help="A TOML file of settings.")]
Url = Annotated[
    str | None,
    typer.Option("--url", envvar="SWARMHOLD_URL", help="The server's URL; by default the one here."),
]
Key = Annotated[
    str | None,
    # The value is in nobody's history or list of processes when it comes from the environment.
    typer.Option("--key", envvar="SWARMHOLD_KEY", help="An API key; by default the root key of the data directory."),
]
InNamespace = Annotated[
    str | None,
    typer.Option(
        "--namespace",
        envvar="SWARMHOLD_NAMESPACE",
        help="The namespace to work in, for the root key; any other key has its own.",
    ),
]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON, for scripts.")]

CALL_TIMEOUT = timedelta(seconds=5)
"""For how long a call is repeated."""
PROOF_TIMEOUT_S = 5.0


def settings_of(
    *, data_dir: Path | None = None, database_url: str | None = None, config: Path | None = None
) -> Settings:
    """Return the settings of a server that is started with these options. Raises ConfigurationError.

    Warns on standard error of settings that are given by an old name.
    """
    from app.cli.output import errors

    found = loaded(data_dir=data_dir, database_url=database_url, config=config)
    for warning in found.warnings:
        errors.print(warning, style="yellow", soft_wrap=True)
    return found.settings


def loaded(*, data_dir: Path | None = None, database_url: str | None = None, config: Path | None = None) -> Loaded:
    """Return those settings with their origins. Raises ConfigurationError."""
    from app.config import load

    return load(flags={"data_dir": data_dir, "database_url": database_url}, file=config)


@dataclass(frozen=True, slots=True, kw_only=True)
class Endpoint:
    """A server, the API key to call it with, and the namespace to attach into where the key leaves a choice."""

    url: str
    key: str
    namespace: str | None = None

    @asynccontextmanager
    async def connect(self, *, call_retry: CallRetry | None = None) -> AsyncGenerator[SwarmholdClient]:
        """Yield a client of the server."""
        from swarmhold.call_retry import CallRetry
        from swarmhold.client import SwarmholdClient

        async with SwarmholdClient(self.url, call_retry=call_retry or CallRetry(timeout=CALL_TIMEOUT)) as server:
            yield server


ServerCommand = Callable[Concatenate[Endpoint, ...], None]


def running_server(settings: Settings, *, url: str | None = None) -> RunningServer | None:
    """Return the server of the data directory, if one runs and proves it, at `url` or where its pidfile says.

    Nothing secret is sent for that: a pidfile that a killed server left may name another program's process and port.
    """
    import httpx

    from app.bootstrap import pidfile
    from app.domain.identity import CHALLENGE, PROOF, is_proof
    from swarmhold.tls import verification

    found = pidfile.find_server(settings.data_dir)
    if found is None:
        return None
    challenge, at = secrets.token_hex(32), f"{url or found.url}/healthz"
    try:
        reply = httpx.get(
            at, headers={CHALLENGE: challenge}, timeout=PROOF_TIMEOUT_S, trust_env=False, verify=verification(at)
        )
    except (httpx.HTTPError, httpx.InvalidURL):
        return None
    return found if is_proof(reply.headers.get(PROOF), found.secret, challenge) else None


def find_endpoint(settings: Settings, *, url: str | None = None, key: str | None = None) -> Endpoint:
    """Return the server at `url`, or the one that runs with these settings.

    A key that is not given with a URL is sent to no server but the one of the data directory. Raises CommandFailed,
    StartFailed.
    """
    from app.bootstrap.keyring import given_root_key

    url = None if url is None else _checked_url(url)
    root = None if key else given_root_key(settings)
    key = _checked_key(key) if key else root.text if root else None
    if key is None:
        raise CommandFailed(
            f"There is no key to call the server with: {settings.root_key_path} does not exist. Name the server's data "
            "directory with --data-dir, or set SWARMHOLD_KEY to an API key.",
            status=EXIT_MISUSED,
        )
    if url is not None and (root is None or settings.root_key is not None):
        return Endpoint(url=url, key=key)
    here = running_server(settings, url=url)
    if here is None:
        raise CommandFailed(_none_runs(settings, url))
    return Endpoint(url=url or here.url, key=key)


def _none_runs(settings: Settings, url: str | None) -> str:
    if url is not None:
        return (
            f"No server of {settings.data_dir} runs at {url}, and no other is sent its root key. Start it, name its "
            "--data-dir, or set SWARMHOLD_KEY to a key of that server."
        )
    return (
        f"No server runs with the data directory {settings.data_dir}. Start one with `swarmhold serve`, name another "
        "--data-dir, or name a server with --url (SWARMHOLD_URL) and its key with SWARMHOLD_KEY."
    )


def _checked_url(text: str) -> str:
    """Return a URL without the slash at its end. Raises CommandFailed."""
    import httpx

    try:
        parsed = httpx.URL(text)
        good = (
            parsed.scheme in ("http", "https")
            and bool(parsed.host)
            and (parsed.port is None or 0 < parsed.port < 65_536)
        )
    except (httpx.InvalidURL, ValueError):
        good = False
    if not good or text.strip() != text or "?" in text or "#" in text:
        raise CommandFailed(f"A server's URL is written as http://host:port, and {text!r} is not.", status=EXIT_MISUSED)
    return text.rstrip("/")


def _checked_key(text: str) -> str:
    """Return an API key or token. Raises CommandFailed for a text that no header can carry."""
    if not text.isascii() or not text.isprintable() or " " in text:
        raise CommandFailed(
            "The key holds characters that no key has (accents, spaces or control characters). Copy it again.",
            status=EXIT_MISUSED,
        )
    return text


def endpoint_of(
    url: Url = None,
    key: Key = None,
    data_dir: DataDir = None,
    config: ConfigFile = None,
    namespace: InNamespace = None,
) -> Endpoint:
    """Return the server that a command's options name. Raises CommandFailed, ConfigurationError, StartFailed.

    The settings of a server here are read unless both URL and key are given.
    """
    if url is not None and key and data_dir is None and config is None:
        return Endpoint(url=_checked_url(url), key=_checked_key(key), namespace=namespace)
    found = find_endpoint(settings_of(data_dir=data_dir, config=config), url=url, key=key)
    return replace(found, namespace=namespace)


_OPTIONS = tuple(signature(endpoint_of, eval_str=True).parameters.values())


def calls_server(*, namespace: bool = True) -> Callable[[ServerCommand], Callable[..., None]]:
    """Give a command the options that name a server, after its own, and the Endpoint as its first argument.

    Without `namespace` the command has no such option.
    """
    shared = _OPTIONS if namespace else _OPTIONS[:-1]

    def decorate(command: ServerCommand) -> Callable[..., None]:
        @wraps(command)
        def called(**given: Any) -> None:
            endpoint = endpoint_of(**{option.name: given.pop(option.name) for option in shared})
            command(endpoint, **given)

        declared = signature(command, eval_str=True)
        _, *own = declared.parameters.values()
        # From these Typer takes the parameters and their types.
        vars(called)["__signature__"] = declared.replace(parameters=[*own, *shared])
        called.__annotations__ = {each.name: each.annotation for each in (*own, *shared)}
        return called

    return decorate


def run_call(call: Callable[[], Coroutine[Any, Any, R]]) -> R:
    """Run a call of a server; its error responses become CommandFailed, as readable messages."""
    from app.cli import interrupts
    from swarmhold.errors import ApiProblem, Error, InvalidArgument

    try:
        return interrupts.run(call())
    except ApiProblem as problem:
        raise CommandFailed(_readable(problem)) from problem
    except InvalidArgument as error:
        raise CommandFailed(f"The server would not accept this: {error}.", status=EXIT_MISUSED) from error
    except Error as error:
        why = str(error).removesuffix(".")
        raise CommandFailed(f"The server cannot be reached: {why}. Is it running? Name it with --url.") from error


def _readable(problem: ApiProblem) -> str:
    if problem.status == 401:
        return "The server does not accept this key. Name another with SWARMHOLD_KEY, or the right --data-dir."
    return f"{problem.detail or problem.title} ({problem.code})"
