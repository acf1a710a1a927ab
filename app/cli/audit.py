"""`swarmhold audit`: export and verify the log of who decided what, by which key and door."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from functools import partial
from typing import TYPE_CHECKING, Annotated, Any

import orjson
import typer

from app.cli import command_records, database
from app.cli.endpoint import AsJson, ConfigFile, DatabaseUrl, DataDir, settings_of
from app.cli.exits import EXIT_MISUSED, CommandFailed
from app.cli.instants import instant
from app.cli.output import print_json
from app.config import Settings
from app.domain.clock import to_rfc3339
from app.domain.json import encode

if TYPE_CHECKING:
    from app.domain.audit import AuditRow
    from app.state.audit_log import Head
    from app.state.state import State

audit = typer.Typer(help="Export the audit log, or verify that nothing in it was changed.", no_args_is_help=True)

After = Annotated[int, typer.Option("--after", help="Begin after this row.", min=0)]
Since = Annotated[
    str | None, typer.Option("--since", help="Begin at this instant, as '2h ago', 'yesterday 14:00' or 2026-12-01.")
]
ExpectedHead = Annotated[
    str | None,
    typer.Option("--head", help="A head that the server logged, <seq>:<hex>: the log must still hold that row."),
]


@audit.command()
def export(
    after: After = 0,
    since: Since = None,
    as_json: AsJson = False,
    data_dir: DataDir = None,
    database_url: DatabaseUrl = None,
    config: ConfigFile = None,
) -> None:
    """Write the log to standard output, one JSON object a line, oldest first. Works beside a running server.

    The export is a row of the log itself, unless the log cannot be written.
    """
    del as_json  # every line is JSON anyway
    settings = settings_of(data_dir=data_dir, database_url=database_url, config=config)
    begin = 0 if since is None else int(instant(since).timestamp() * 1000)
    command_records.record(settings, "audit_exported", after=after)
    for row in _rows(settings, after):
        if row.at < begin:
            continue
        sys.stdout.buffer.write(encode(_plain(row), option=orjson.OPT_APPEND_NEWLINE))


def _rows(settings: Settings, after: int) -> Iterator[AuditRow]:
    # Each page on a snapshot of its own: the log only grows, and a long one must not hold the database back.
    while found := database.read(settings, partial(_page, after)):
        yield from found
        after = found[-1].seq


def _page(after: int, state: State) -> list[AuditRow]:
    from app.state.audit_log import page

    return page(state.db, after)


def _plain(row: AuditRow) -> dict[str, Any]:
    detail = None if row.detail is None else row.detail.value
    return {**row._asdict(), "at": to_rfc3339(row.at), "at_ms": row.at, "detail": detail}


@audit.command()
def verify(
    head: ExpectedHead = None,
    as_json: AsJson = False,
    data_dir: DataDir = None,
    database_url: DatabaseUrl = None,
    config: ConfigFile = None,
) -> None:
    """Check that every row is as the server wrote it and follows from the one before. Works beside a running server.

    Without --head, rows that were cut off at the end together with the stored head are not missed.
    """
    from app.state import audit_log

    settings = settings_of(data_dir=data_dir, database_url=database_url, config=config)
    expected = None if head is None else _parsed(head)
    ring = database.existing_keyring(settings)
    if ring is None:
        raise CommandFailed(
            f"{database.without_keys(settings)}, and the log is chained with one of them. "
            "Name the server's --data-dir.",
            status=EXIT_MISUSED,
        )
    seal = ring.seal()
    broken, newest = database.read(
        settings, lambda state: (audit_log.verify(state.db, seal, expected=expected), audit_log.head(state.db))
    )
    if as_json:
        found = {"broken_at": broken.seq, "why": broken.why} if broken else {"broken_at": None, "why": None}
        print_json({"ok": broken is None, **found, "rows": newest.seq, "head": str(newest)})
    if broken is not None:
        raise CommandFailed(f"The log is broken at row {broken.seq}: {broken.why}. Compare it with an earlier export.")
    if not as_json:
        print(f"{newest.seq} rows, each as it was written and following from the one before. Head {newest}")


def _parsed(text: str) -> Head:
    from app.state.audit_log import Head

    try:
        return Head.parse(text)
    except ValueError as error:
        raise CommandFailed(
            f"--head {text!r} is no head: {error}, as the server logs it.", status=EXIT_MISUSED
        ) from error
