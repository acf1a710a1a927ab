"""`swarmhold audit`: export and verify the log of who did what with which credential."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated, Any

import orjson
import typer

from app.cli import database
from app.cli.endpoint import AsJson, ConfigFile, DatabaseUrl, DataDir, settings_of
from app.cli.exits import CommandFailed
from app.cli.output import print_json
from app.config import Settings
from app.domain.clock import to_rfc3339
from app.domain.json import decode, encode

if TYPE_CHECKING:
    from app.state.state import State

audit = typer.Typer(help="Export the audit log, or verify that nothing in it was changed.", no_args_is_help=True)

PAGE = 1_000

After = Annotated[int, typer.Option("--after", help="Begin after this row.", min=0)]


@audit.command()
def export(
    after: After = 0, data_dir: DataDir = None, database_url: DatabaseUrl = None, config: ConfigFile = None
) -> None:
    """Write the log to standard output, one JSON object a line, oldest first. Works beside a running server."""
    settings = settings_of(data_dir=data_dir, database_url=database_url, config=config)
    for row in _rows(settings, after):
        sys.stdout.buffer.write(encode(row, option=orjson.OPT_APPEND_NEWLINE))


def _rows(settings: Settings, after: int) -> Iterator[dict[str, Any]]:
    from app.engine.ops.audit import page

    def read(state: State) -> list[dict[str, Any]]:
        return page(state, after, PAGE)

    # Each page on a snapshot of its own: the log only grows, and a long one must not hold the database back.
    while found := database.read(settings, read):
        for row in found:
            detail = decode(row["detail"].encode()) if row["detail"] else None
            yield {**row, "at": to_rfc3339(row["at"]), "at_ms": row["at"], "detail": detail}
        after = int(found[-1]["seq"])


@audit.command()
def verify(
    as_json: AsJson = False, data_dir: DataDir = None, database_url: DatabaseUrl = None, config: ConfigFile = None
) -> None:
    """Check that every row follows from the one before. Works beside a running server."""
    from app.engine.ops import audit as log

    settings = settings_of(data_dir=data_dir, database_url=database_url, config=config)
    broken, head = database.read(settings, lambda state: (log.verify(state), log.head(state)))
    if as_json:
        print_json({"ok": broken is None, "broken_at": broken, "rows": head})
    if broken is not None:
        raise CommandFailed(f"The log was changed at row {broken}: compare it with an earlier export.")
    if not as_json:
        print(f"{head} rows, each following from the one before.")
