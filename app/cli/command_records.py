"""Rows of the audit log about what commands do beside the server: exports, backups, rotations of keys."""

from __future__ import annotations

import getpass
from typing import Any

from app.bootstrap.errors import StartFailed
from app.bootstrap.keyring import given_root_key
from app.cli import database
from app.cli.endpoint import Endpoint, running_server
from app.cli.exits import CommandFailed
from app.cli.output import errors
from app.cli.sessions import admin_calls, call_in
from app.config import Settings
from app.domain.errors import EngineError
from swarmhold.models.admin import CommandAction, CommandRequest


def record(settings: Settings, action: CommandAction, **about: str | int) -> None:
    """Record what a command does, by the running server where there is one.

    What happens to a log that cannot be written has no row; a warning on standard error says so.
    """
    row = CommandRequest.model_validate({"action": action, "user": user(), **about})
    try:
        _record(settings, row)
    except (CommandFailed, StartFailed, EngineError) as failure:
        message = f"The audit log has no row about this: {failure}"
        errors.print(message, style="yellow", soft_wrap=True, markup=False, highlight=False)


def _record(settings: Settings, row: CommandRequest) -> None:
    here = running_server(settings)
    if here is None:
        _record_here(settings, row)
        return
    root = given_root_key(settings)
    if root is None:
        raise CommandFailed(
            f"a server has the database, and {settings.root_key_path} does not exist. Set SWARMHOLD_ROOT_KEY_FILE."
        )
    call_in(admin_calls(Endpoint(url=here.url, key=root.text)), lambda admin: admin.record_command(row))


def _record_here(settings: Settings, row: CommandRequest) -> None:
    from app.engine.ops import audit
    from app.state import migrations

    if database.existing_keyring(settings) is None:
        raise CommandFailed(f"{database.without_keys(settings)}, and it is chained with one of them.")
    with database.connected(settings) as link:
        found = migrations.version(link)
    if found != migrations.head():
        raise CommandFailed(f"the database is at version {found or 'none'}, this command's is {migrations.head()}.")
    about: dict[str, Any] = row.model_dump(exclude={"action", "user"}, exclude_none=True)
    database.change(
        settings,
        "record_command",
        lambda state: audit.record(state, f"command:{row.user}", row.action, **about),
    )


def user() -> str:
    """Return the name of the user who runs the command."""
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return "unknown"
