"""The command `swarmhold`: its subcommands, and how its errors are reported."""

from __future__ import annotations

import sys
from typing import Annotated, TextIO, cast

import typer
from pydantic import ValidationError

import app as package
from app.bootstrap.errors import StartFailed
from app.cli.audit import audit
from app.cli.backup import backup, restore
from app.cli.demo.command import demo
from app.cli.doctor import doctor
from app.cli.documents import configuration, openapi
from app.cli.events import events
from app.cli.exits import EXIT_FAILED, EXIT_MISUSED, CommandFailed
from app.cli.keys import keys
from app.cli.migrate import migrate
from app.cli.namespaces import namespaces
from app.cli.nodes import nodes
from app.cli.output import CheckedOutput
from app.cli.run import run
from app.cli.senior import senior
from app.cli.serve import serve
from app.cli.tasks import tasks
from app.cli.webhooks import webhooks
from app.config import ConfigurationError
from app.domain.errors import EngineError

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


Version = Annotated[bool, typer.Option("--version", help="Show the version.", callback=_show_version, is_eager=True)]


@cli.callback()
def _options(version: Version = False) -> None:
    del version


cli.command()(serve)
cli.command()(demo)
cli.command()(run)
cli.add_typer(tasks, name="tasks")
cli.command()(events)
cli.command()(senior)
cli.add_typer(keys, name="keys")
cli.command()(namespaces)
cli.command()(nodes)
cli.add_typer(webhooks, name="webhooks")
cli.command()(doctor)
cli.command()(migrate)
cli.command()(backup)
cli.command()(restore)
cli.add_typer(audit, name="audit")
cli.command()(openapi)
cli.command()(configuration)


def main() -> None:
    """Run the command line. Errors that users can correct end in a message and an exit status, without a traceback."""
    sys.stdout = cast("TextIO", CheckedOutput(sys.stdout))
    try:
        try:
            cli()
        finally:
            sys.stdout.flush()
    except ConfigurationError as error:
        lines = "".join(f"\n  {line}" for line in str(error).splitlines())
        _fail(f"The settings cannot be used:{lines}", EXIT_MISUSED)
    except CommandFailed as error:
        _fail(str(error), error.status)
    except (StartFailed, EngineError) as error:
        _fail(str(error), EXIT_FAILED)
    except ValidationError as error:
        _fail(_readable(error), EXIT_MISUSED)
    except UnicodeError:
        _fail("An argument, variable or input is not UTF-8 text. Convert it, as with iconv.", EXIT_MISUSED)
    except KeyboardInterrupt:
        sys.exit(130)


def _readable(error: ValidationError) -> str:
    """Return the first validation error of an argument on one line."""
    first = error.errors(include_url=False, include_context=False, include_input=False)[0]
    where = ".".join(map(str, first["loc"])).replace("_", " ")
    return f"The argument for {where} cannot be used: {' '.join(first['msg'].split())}. Correct it."


def _fail(text: str, status: int) -> None:
    print(text, file=sys.stderr)
    sys.exit(status)
