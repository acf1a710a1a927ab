"""The command `swarmhold`: its subcommands, and how its failures are told."""

from __future__ import annotations

import sys

import typer

import app as package
from app.bootstrap.failures import StartFailed
from app.cli.serve import serve
from app.config import ConfigurationError

EXIT_FAILED = 1
EXIT_MISUSED = 2

cli = typer.Typer(
    name="swarmhold",
    help="A durable orchestration server for swarms of agents.",
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _show_version(wanted: bool) -> None:
    if wanted:
        print(package.__version__)
        raise typer.Exit


@cli.callback()
def _options(
    version: bool = typer.Option(False, "--version", help="Show the version.", callback=_show_version, is_eager=True),
) -> None:
    del version


cli.command()(serve)


def main() -> None:
    """Run the command line. What users can mend ends in plain words and a status, never in a traceback."""
    try:
        cli()
    except ConfigurationError as error:
        _fail("The settings cannot be used:", str(error), EXIT_MISUSED)
    except StartFailed as error:
        _fail("", str(error), EXIT_FAILED)


def _fail(head: str, text: str, status: int) -> None:
    lines = [head, *(f"  {line}" for line in text.splitlines())] if head else [text]
    print("\n".join(lines), file=sys.stderr)
    sys.exit(status)
