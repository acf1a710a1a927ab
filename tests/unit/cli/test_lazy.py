"""Commands are imported when they are called, and listed as they describe themselves."""

import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import pytest

from app.cli.lazy import COMMANDS, loaded

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
}
NEEDED = {"httpx", "jsonschema_rs", "pydantic", "rich"}


def _imported(statement: str) -> set[str]:
    """Which of the packages that take long to load a fresh interpreter has loaded after a statement."""
    shown = f"import sys\n{statement}\nprint(*{DEAR!r} & sys.modules.keys())"
    done = subprocess.run([sys.executable, "-c", shown], capture_output=True, text=True, check=True)
    return set(done.stdout.split())


def test_the_list_of_commands_loads_nothing() -> None:
    """`swarmhold --help` and completion need the option parser alone."""
    assert _imported("import app.cli.main") == set()


@pytest.mark.parametrize("module", ["events", "run", "senior", "tasks"])
def test_a_command_that_calls_a_server_loads_no_part_of_one(module: str) -> None:
    """The client and the settings, but neither database nor web server."""
    assert _imported(f"import app.cli.{module}") <= NEEDED


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
