"""`swarmhold migrate`: migrate the database to this version, as a server does when it starts."""

from __future__ import annotations

from typing import Annotated

import typer

from app.cli import database
from app.cli.endpoint import AsJson, ConfigFile, DatabaseUrl, DataDir, settings_of
from app.cli.exits import CommandFailed
from app.cli.output import print_json
from app.cli.progress import progress
from app.config import Settings

Check = Annotated[bool, typer.Option("--check", help="Change nothing; fail when the database is not up to date.")]


def migrate(
    check: Check = False,
    as_json: AsJson = False,
    data_dir: DataDir = None,
    database_url: DatabaseUrl = None,
    config: ConfigFile = None,
) -> None:
    """Migrate the database to this version, while no server uses it."""
    from app.state import migrations

    settings = settings_of(data_dir=data_dir, database_url=database_url, config=config)
    before, head = _version(settings), migrations.head()
    if check and before != head:
        raise CommandFailed(f"The database is at version {before or 'none'}, the newest is {head}.")
    if before != head:
        with progress("Migrating the database"):
            database.change(settings, "migrate", lambda _: None)
    if as_json:
        print_json({"before": before, "after": head})
    else:
        print(f"The database is at {head}." if before == head else f"The database went from {before} to {head}.")


def _version(settings: Settings) -> str | None:
    from app.state import migrations

    if not database.is_postgres(settings) and not database.database_file(settings).exists():
        return None
    with database.connected(settings) as link:
        return migrations.version(link)
