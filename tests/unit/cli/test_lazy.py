"""Commands are imported when they are called, and listed as they describe themselves."""

import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import pytest

from app.cli.lazy import COMMANDS, loaded
from tests.support.processes import own_variables

DEAR = {
    "alembic",
    "apsw",
    "fastapi",
    "httpx",
    "jsonschema_rs",
    "jwt",
    "psycopg",
    "pydantic",
    "rich",
    "sqlalchemy",
    "structlog",
    "websockets",
}
MODELS_OF_TASKS = {"attempts", "enums", "events", "instants", "names", "numbers", "problems", "sessions", "shapes",
    "spawners", "tasks", "usage", "close_codes"}  # fmt: skip
"""Modules of models that reading tasks needs."""
CALLING = ("events", "loop", "namespaces", "nodes", "questions", "run", "session_list", "tasks", "webhooks", "workers")
"""Modules of commands that call a server and print tables."""


def _imported(statement: str) -> set[str]:
    """Which of the packages that take long to load a fresh interpreter has loaded after a statement."""
    shown = f"import sys\n{statement}\nprint(*{DEAR!r} & sys.modules.keys())"
    done = subprocess.run([sys.executable, "-c", shown], env=own_variables(), capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return set(done.stdout.split())


def test_the_list_of_commands_loads_nothing() -> None:
    """`swarmhold --help` and completion need the option parser alone."""
    assert _imported("import app.cli.main") == set()


@pytest.mark.parametrize("module", CALLING)
def test_the_help_of_a_command_loads_what_prints_alone(module: str) -> None:
    """Neither the client nor the settings."""
    assert _imported(f"import app.cli.{module}") <= {"rich"}


def test_a_call_of_a_server_loads_no_part_of_one() -> None:
    """The client, the models and the settings, but no WebSockets, database, web server or validator of schemas."""
    calling = "asyncio.run(operator_session(Endpoint(url='http://127.0.0.1:1', key='k')).__aenter__())"
    statement = f"""import asyncio, contextlib
import app.cli.tasks, app.cli.questions
from app.cli import endpoint
from app.cli.endpoint import Endpoint, find_endpoint, settings_of
from app.cli.sessions import operator_session
from datetime import timedelta
endpoint.CALL_TIMEOUT = timedelta(0)
find_endpoint(settings_of(), url="http://127.0.0.1:1", key="k")
with contextlib.suppress(Exception):
    {calling}"""
    assert _imported(statement) == {"httpx", "pydantic", "rich"}


def test_no_settings_are_read_for_a_server_that_is_named_with_its_key() -> None:
    """Its own are elsewhere; a URL that is none is still refused."""
    statement = """import sys
from app.cli.endpoint import CommandFailed, endpoint_of
assert endpoint_of(url="http://there:1/", key="shk_x").url == "http://there:1"
assert "app.config" not in sys.modules
try:
    endpoint_of(url="there", key="shk_x")
except CommandFailed:
    import structlog"""
    assert _imported(statement) == {"httpx", "structlog", "rich"}


def test_reading_tasks_builds_the_models_of_tasks_alone() -> None:
    """A model takes as long to build as a module to load; those that a command does not read are left out."""
    statement = f"""import asyncio, sys
import app.cli.tasks
from app.cli.endpoint import Endpoint
async def observe():
    async with Endpoint(url="http://127.0.0.1:1", key="shk_x").connect() as server:
        server.observer("token")
asyncio.run(observe())
models = {{name.removeprefix("swarmhold.models.") for name in sys.modules if name.startswith("swarmhold.models.")}}
assert models == {MODELS_OF_TASKS!r}, models"""
    assert _imported(statement) == {"httpx", "pydantic", "rich"}


def _run(*words: str, after: str) -> str:
    """A statement that runs a command, whose server is away, to its end, and another statement then.

    Loading the certificates of authorities raises an exception.
    """
    return f"""import contextlib, io, os, ssl, sys
from app.cli.main import main
ssl.create_default_context = None
os.environ["SWARMHOLD_KEY"] = "shk_x"
sys.stdin = io.TextIOWrapper(io.BytesIO(b"{{}}"))
sys.argv = ["swarmhold", *{words!r}, "--url", "http://127.0.0.1:1"]
with contextlib.suppress(SystemExit):
    main()
sys.stdout = sys.__stdout__
{after}"""


def test_a_hook_loads_no_client() -> None:
    """An agent starts it for each use of a tool: it asks with the standard library. Typer needs pydantic."""
    assert _imported(_run("hook", "claude", after="assert 'asyncio' not in sys.modules")) == {"pydantic"}


def test_a_bridge_of_mcp_loads_no_models() -> None:
    """Nor certificates of authorities, which a URL without TLS does not need, nor what httpx's own command needs."""
    others = "assert not {'click', 'pygments', 'swarmhold.models.shapes'} & sys.modules.keys()"
    assert _imported(_run("mcp", after=others)) == {"httpx", "pydantic"}


@pytest.mark.parametrize("module", ["mcp", "skill"])
def test_a_command_that_prints_no_table_loads_nothing(module: str) -> None:
    """A client of MCP starts one of them for each session."""
    assert _imported(f"import app.cli.{module}") == set()


def test_the_client_loads_what_is_used_of_it() -> None:
    """And has every name that it says to have."""
    assert _imported("import swarmhold.models.enums") == set()
    everything = "import swarmhold\nassert not [name for name in swarmhold.__all__ if not hasattr(swarmhold, name)]"
    assert _imported(f"{everything}\nassert set(swarmhold.__all__) <= set(dir(swarmhold))") >= {"websockets"}


@pytest.mark.parametrize("name", COMMANDS)
def test_a_command_is_listed_as_it_describes_itself(name: str) -> None:
    """The sentence of the list is the first of the command's own help."""
    own = " ".join(loaded(name).help.split())
    assert own.startswith(COMMANDS[name][1])


def _commands(name: str, command: Any) -> Iterator[tuple[str, Any]]:
    for inner, found in getattr(command, "commands", {}).items():
        yield from _commands(f"{name} {inner}", found)
    if not hasattr(command, "commands"):
        yield name, command


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_answers_scripts_in_json(name: str) -> None:
    """`--json` is an option of each command, and of each below it."""
    without = [
        each
        for each, command in _commands(name, loaded(name))
        if not any("--json" in parameter.opts for parameter in command.params)
    ]
    assert without == []
