"""The command `swarmhold`: its subcommands, and how its errors are reported."""

from __future__ import annotations

import gc
import sys
from types import ModuleType
from typing import Annotated, TextIO, cast

import typer

import app as package
from app.cli.checked_output import CheckedOutput
from app.cli.lazy import LazyGroup

_COLLECT_AFTER = 20_000
"""New objects after which garbage is collected: most of those of a command are its modules, which stay."""

cli = typer.Typer(
    name="swarmhold",
    cls=LazyGroup,
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


def main() -> None:
    """Run the command line. Errors that users can correct end in a message and an exit status, without a traceback."""
    sys.stdout = cast("TextIO", CheckedOutput(sys.stdout))
    gc.set_threshold(_COLLECT_AFTER)
    # httpx does without its own command, for which it would import a highlighter of syntax and a parser of options.
    cast("dict[str, ModuleType | None]", sys.modules).setdefault("httpx._main", None)
    try:
        try:
            cli()
        finally:
            sys.stdout.flush()
            gc.freeze()  # nothing looks for garbage once more when the interpreter ends
    except KeyboardInterrupt:
        sys.exit(130)
    except Exception as error:
        from app.cli.failures import explained  # what its errors belong to takes longer to load than most commands

        readable = explained(error)
        if readable is None:
            raise
        print(readable, file=sys.stderr)
        sys.exit(readable.status)
